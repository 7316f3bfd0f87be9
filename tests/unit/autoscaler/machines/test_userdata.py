# SPDX-License-Identifier: Apache-2.0
"""What a new machine is told."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from parts.pki import Authority

from oscar_fedcloud.autoscaler import names
from oscar_fedcloud.autoscaler.config.settings import JoinConfig, PoolConfig, TaintConfig
from oscar_fedcloud.autoscaler.machines import userdata
from oscar_fedcloud.config import ConfigError

ROOT = Path(__file__).parents[4]
CLUSTER = userdata.JoinTarget("oscar", "10.0.0.1:6443", ("sha256:" + 64 * "a",))
PLAIN = JoinConfig()
TOKEN = "abcdef.0123456789abcdef"
POOL = PoolConfig(
    name="gpu",
    cloud="here",
    template={},
    capacity={"cpu": 4, "memory": "8Gi"},
    labels={"site/kind": "gpu"},
    taints=(TaintConfig(key="gpu", value="yes"),),
)


def document(join: JoinConfig = PLAIN, pool: PoolConfig = POOL) -> dict[str, Any]:
    text = userdata.user_data(CLUSTER, join, pool, "oscar-gpu-x2y4z", TOKEN)
    assert text.startswith("#cloud-config\n")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def files(found: dict[str, Any]) -> dict[str, str]:
    return {each["path"]: each["content"] for each in found["write_files"]}


def test_the_machine_joins_as_the_pool_says() -> None:
    found = document(JoinConfig(ignore_preflight_errors=("Swap",), kubelet_args={"max-pods": "50"}))
    assert found["hostname"] == "oscar-gpu-x2y4z"
    join = yaml.safe_load(files(found)[userdata.JOIN_FILE])
    assert join["apiVersion"] == "kubeadm.k8s.io/v1beta4"
    assert join["discovery"]["bootstrapToken"] == {
        "apiServerEndpoint": "10.0.0.1:6443",
        "token": TOKEN,
        "caCertHashes": list(CLUSTER.ca_hashes),
    }
    registration = join["nodeRegistration"]
    assert registration["name"] == "oscar-gpu-x2y4z"
    assert registration["ignorePreflightErrors"] == ["Swap"]
    assert registration["taints"] == [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    arguments = {each["name"]: each["value"] for each in registration["kubeletExtraArgs"]}
    assert arguments == {
        "max-pods": "50",
        "provider-id": "oscar://oscar/oscar-gpu-x2y4z",
        "node-labels": "oscar.fedcloud.eu/pool=gpu,site/kind=gpu",
    }


def test_the_file_that_starts_the_join_comes_last_and_is_not_for_everybody() -> None:
    written = document()["write_files"]
    assert written[-1]["path"] == userdata.JOIN_FILE
    assert written[-1]["permissions"] == "0600"


def test_what_is_shown_to_people_holds_no_token() -> None:
    text = userdata.user_data(CLUSTER, JoinConfig(), POOL, "oscar-gpu-x2y4z", TOKEN)
    assert TOKEN in text
    assert TOKEN not in repr(userdata.shown(text))


def test_a_prepared_image_gets_neither_packages_nor_files_of_nodes() -> None:
    join = JoinConfig(files={"/etc/containerd/config.toml": "version = 3\n"})
    prepared = files(document(join))
    assert set(prepared) == {userdata.JOIN_FILE, "/etc/oscar-node/join.sh", "/etc/systemd/system/oscar-join.service"}
    assert "apt-get" not in prepared["/etc/oscar-node/join.sh"]


def test_packages_come_with_the_files_that_they_are_set_up_by() -> None:
    join = JoinConfig(packages=("kubelet=1.36.4-*",), files={"/etc/containerd/config.toml": "version = 3\n"})
    plain = files(document(join))
    assert plain["/etc/containerd/config.toml"] == "version = 3\n"
    assert "install 'kubelet=1.36.4-*'" in plain["/etc/oscar-node/join.sh"]


def test_a_pool_may_have_another_image() -> None:
    join = JoinConfig(packages=("kubelet=1.36.4-*",), files={"/etc/a": "a"})
    pool = PoolConfig(name="gpu", cloud="here", template={}, capacity={}, packages=(), files={"/etc/b": "b"})
    found = files(document(join, pool))
    assert "/etc/a" not in found
    assert found["/etc/b"] == "b"


@pytest.mark.parametrize("packages", [(), ("kubelet=1.36.4-*", "containerd.io")])
def test_the_script_is_one_that_a_shell_understands(packages: tuple[str, ...], tmp_path: Path) -> None:
    script = tmp_path / "join.sh"
    script.write_text(files(document(JoinConfig(packages=packages, commands=("true",))))["/etc/oscar-node/join.sh"])
    subprocess.run(["sh", "-n", str(script)], check=True)


def run_script(folder: Path, kubeadm: str, *, joined_before: bool) -> list[str]:
    """The script on a machine whose kubeadm only notes what it is asked; what it was asked."""
    text = files(document())["/etc/oscar-node/join.sh"].replace("/etc/", f"{folder}/etc/")
    (folder / "etc/oscar-node").mkdir(parents=True)
    (folder / "etc/kubernetes").mkdir()
    if joined_before:
        (folder / "etc/kubernetes/kubelet.conf").touch()
    program = folder / "kubeadm"
    program.write_text(f'#!/bin/sh\necho "$1" >> {folder}/asked\n{kubeadm}\n')
    program.chmod(0o755)
    subprocess.run(["sh"], input=text, text=True, env={"PATH": f"{folder}:/usr/bin:/bin"}, check=False)
    return (folder / "asked").read_text().split()


def test_a_join_that_was_cut_off_is_undone_first(tmp_path: Path) -> None:
    assert run_script(tmp_path, "true", joined_before=True) == ["reset", "join"]
    assert (tmp_path / "etc/oscar-node/joined").exists()


def test_a_join_that_fails_is_not_taken_for_one_that_succeeded(tmp_path: Path) -> None:
    assert run_script(tmp_path, "exit 1", joined_before=False) == ["join"]
    assert not (tmp_path / "etc/oscar-node/joined").exists()


def test_a_prepared_image_has_the_same_unit() -> None:
    unit = files(document())["/etc/systemd/system/oscar-join.service"]
    assert (ROOT / "roles/autoscaler/files/oscar-join.service").read_text() == unit


def test_every_authority_of_the_cluster_is_pinned(tmp_path: Path) -> None:
    certificates = [Authority(tmp_path / each).certificate.read_bytes() for each in ("old", "new")]
    bundle = tmp_path / "ca.crt"
    bundle.write_bytes(b"".join(certificates))
    expected = []
    for each in certificates:
        key = x509.load_pem_x509_certificate(each).public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        expected.append("sha256:" + hashlib.sha256(der).hexdigest())
    assert userdata.ca_hashes(str(bundle)) == tuple(expected)


@pytest.mark.parametrize("url", ["https://127.0.0.1:6443", "https://localhost:6443", ""])
def test_machines_are_not_sent_to_themselves(url: str) -> None:
    with pytest.raises(ConfigError, match=r"join\.server"):
        userdata.server_of(url)


@given(st.sampled_from(["a", "site-1", "oscar"]), st.sampled_from(["small", "gpu-large"]))
def test_names_are_host_names_and_differ(cluster: str, pool: str) -> None:
    made = {names.machine_name(cluster, pool) for _ in range(20)}
    assert len(made) == 20
    for name in made:
        assert re.fullmatch(rf"{cluster}-{pool}-[a-z0-9]{{5}}", name)
        assert re.fullmatch("[a-z0-9]{6}", names.token_id(name))
