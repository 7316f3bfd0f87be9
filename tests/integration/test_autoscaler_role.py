# SPDX-License-Identifier: Apache-2.0
"""What the role writes is what the daemon takes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import ROOT, VERSIONS, Ansible

from oscar_fedcloud.autoscaler.config.loading import load
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.machines.userdata import JoinTarget, user_data

ROLE = ROOT / "roles" / "autoscaler"
SETTINGS: dict[str, Any] = {
    "autoscaler_cluster": "site1",
    "autoscaler_clouds": {"here": {"type": "command", "add": ["add"], "list": ["list"], "remove": ["remove"]}},
    "autoscaler_pools": [
        {"name": "small", "cloud": "here", "template": {"a": 1}, "capacity": {"cpu": 2, "memory": "4Gi"}, "max": 5}
    ],
    "autoscaler_limits": {"nodes": 7},
    "autoscaler_settings": {"scan_interval": 3.0},
    # what the host's tasks would have read
    "__autoscaler_contents": {
        "results": [
            {"source": "/etc/containerd/config.toml", "content": base64.b64encode(b"version = 3\n").decode()},
            {"source": "/etc/apt/keyrings/oscar-kubernetes.asc", "content": base64.b64encode(b"-----KEY\n").decode()},
        ]
    },
    "__autoscaler_installed": {"stdout_lines": ["containerd.io=2.2.7-1", "kubeadm=1.36.4-1.1", "kubelet=1.36.4-1.1"]},
}


def written(folder: Path, version: str, **settings: Any) -> AutoscalerConfig:
    """The configuration that the role's template makes."""
    file = folder / "autoscaler.yml"
    variables = yaml.safe_load((ROLE / "defaults/main.yml").read_text()) | SETTINGS | settings
    done = Ansible(version, folder / "ansible").play(
        [
            {"ansible.builtin.include_vars": str(ROLE / "vars/main.yml")},
            {"ansible.builtin.template": {"src": str(ROLE / "templates/autoscaler.yml.j2"), "dest": str(file)}},
        ],
        vars=variables,
    )
    assert done.code == 0, done.output
    return load(file)


@pytest.mark.parametrize("version", VERSIONS)
def test_machines_get_packages_and_files_of_this_host(tmp_path: Path, version: str) -> None:
    config = written(tmp_path, version, kubernetes_ignore_preflight_errors=["Swap"])
    assert config.cluster == "site1"
    assert config.limits.nodes == 7
    assert config.scan_interval == 3.0
    assert config.invoker is not None
    assert config.invoker.token_file == "invoker-token", "the monitor token, not the administrator's password"
    assert config.join.packages == ("containerd.io=2.2.7-1", "kubeadm=1.36.4-1.1", "kubelet=1.36.4-1.1")
    assert config.join.ignore_preflight_errors == ("Swap",)
    text = user_data(JoinTarget("site1", "10.0.0.1:6443", ()), config.join, config.pools[0], "site1-small-bbbbb", "a.b")
    files = {each["path"]: each["content"] for each in yaml.safe_load(text)["write_files"]}
    assert files["/etc/containerd/config.toml"] == "version = 3\n"
    assert files["/etc/apt/keyrings/oscar-kubernetes.asc"] == "-----KEY\n"


def test_machines_get_the_firewall_where_this_host_has_one(tmp_path: Path) -> None:
    config = written(tmp_path, "newest", __autoscaler_firewall="table inet oscar {}\n")
    assert config.join.files["/etc/oscar-firewall/firewall.nft"] == "table inet oscar {}\n"
    assert "nftables" in config.join.packages
    assert config.join.commands == ("systemctl enable --now oscar-firewall.service",)


def test_a_password_that_is_given_is_used(tmp_path: Path) -> None:
    config = written(tmp_path, "newest", autoscaler_invoker_password="swordfish", autoscaler_invoker_user="someone")
    assert config.invoker is not None
    assert (config.invoker.user, config.invoker.password_file) == ("someone", "invoker-password")
    assert not config.invoker.token_file


def test_with_a_prepared_image_they_get_none(tmp_path: Path) -> None:
    config = written(tmp_path, "newest", autoscaler_image_prepared=True, autoscaler_invoker_url="")
    assert config.join.packages == ()
    assert config.join.files == {}
    assert config.invoker is None
