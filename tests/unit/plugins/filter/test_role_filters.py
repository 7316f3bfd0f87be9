# SPDX-License-Identifier: Apache-2.0
"""Filters of roles: nodes, keys and addresses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

FILTERS = Path(__file__).parents[4] / "plugins" / "filter"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"filter_{name}", FILTERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


nodes, keys, addresses = module("nodes"), module("keys"), module("addresses")

TAINT = "node-role.kubernetes.io/control-plane=:NoSchedule"
NODE: dict[str, Any] = {
    "metadata": {"name": "w", "labels": {"disk": "ssd", "zone": "a"}},
    "spec": {
        "taints": [
            {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
            {"key": "gpu", "value": "true", "effect": "NoExecute"},
        ]
    },
    "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]},
}


def test_the_state_of_a_node() -> None:
    state = nodes.node_state(NODE)
    assert state == {"ready": True, "labels": {"disk": "ssd", "zone": "a"}, "taints": [TAINT, "gpu=true:NoExecute"]}
    assert nodes.node_state({"metadata": {}, "spec": {}}) == {"ready": False, "labels": {}, "taints": []}


def test_a_node_is_changed_where_it_differs() -> None:
    state = nodes.node_state(NODE)
    changes = nodes.node_changes(
        state, {"disk": "ssd", "zone": "b", "rank": 1}, ["gpu=true:NoExecute", "x=:NoSchedule"], [TAINT]
    )
    assert changes == {"labels": ["zone=b", "rank=1"], "taints": ["x=:NoSchedule", f"{TAINT}-"]}
    assert nodes.node_changes(state, {"disk": "ssd"}, [TAINT], ["other=:NoSchedule"]) == {"labels": [], "taints": []}


def test_a_label_that_is_no_text_is_not_set_again() -> None:
    state = {"ready": True, "labels": {"rank": "1"}, "taints": []}
    assert nodes.node_changes(state, {"rank": 1}, [])["labels"] == []


def test_a_kubelet_sets_no_labels_of_kubernetes() -> None:
    labels = {"disk": "ssd", "node-role.kubernetes.io/worker": "", "k8s.io/a": "b", "oscar/gpu": "nvidia"}
    assert nodes.kubelet_labels(labels) == "disk=ssd,oscar/gpu=nvidia"
    assert nodes.kubelet_labels({}) == ""


def test_what_a_worker_needs_to_join() -> None:
    printed = "kubeadm join 10.0.0.1:6443 --token abc.def --discovery-token-ca-cert-hash sha256:12 \n"
    assert nodes.join_parameters(printed) == {"endpoint": "10.0.0.1:6443", "token": "abc.def", "ca_hash": "sha256:12"}
    assert nodes.join_parameters("") == {"endpoint": "", "token": "", "ca_hash": ""}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["QUJD\n", ""], [("oscar", "QUJD")]),
        (["oscar-a1 REVG\n", "QUJD\n"], [("oscar-a1", "REVG"), ("oscar", "QUJD")]),
        (["QUJD\n", "QUJD\n"], [("oscar", "QUJD")]),
        (["", ""], []),
    ],
)
def test_keys_of_secrets(files: list[str], found: list[tuple[str, str]]) -> None:
    assert [(key["name"], key["secret"]) for key in keys.encryption_keys(files)] == found


def listing(expiry: str) -> str:
    key = "DE15B14486CD377B9E876E1A234654DA9A296436"
    return f"pub:-:4096:1:{key[-16:]}:1600000000:{expiry}::-:\nfpr:::::::::{key}:\n"


@pytest.mark.parametrize(
    ("text", "fingerprint", "valid"),
    [
        (listing(""), "DE15B14486CD377B9E876E1A234654DA9A296436", True),
        (listing("2000"), "de15 b144 86cd 377b 9e87 6e1a 2346 54da 9a29 6436", True),
        (listing("999"), "DE15B14486CD377B9E876E1A234654DA9A296436", False),
        (listing(""), "9DC858229FC7DD38854AE2D88D81803C0EBFCD88", False),
        ("", "DE15B14486CD377B9E876E1A234654DA9A296436", False),
    ],
)
def test_keys_of_repositories(text: str, fingerprint: str, valid: bool) -> None:
    assert keys.has_gpg_key(text, fingerprint, 1000.5) is valid


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:9999", "http://127.0.0.1:9999"),
        ("[::]:80", "http://127.0.0.1:80"),
        (":9000", "http://127.0.0.1:9000"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("[fd00::1]:8080", "http://[fd00::1]:8080"),
    ],
)
def test_a_daemon_is_reached_on_its_own_host(listen: str, url: str) -> None:
    assert addresses.local_url(listen) == url


def test_each_filter_is_documented() -> None:
    for file in sorted(FILTERS.glob("*.py")):
        if file.stem in ("nodes", "keys", "addresses"):
            for name in module(file.stem).FilterModule().filters():
                text = yaml.safe_load((FILTERS / f"{name}.yml").read_text(encoding="utf-8"))
                assert text["DOCUMENTATION"]["name"] == name
