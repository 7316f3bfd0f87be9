# SPDX-License-Identifier: Apache-2.0
"""What is closed to users and to Jobs, what is encrypted, and what ends by itself."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from deployed import FRONT, INVENTORY, WORKERS, Deployed, changed
from guests import named
from parts.waiting import eventually
from workloads import COPY, put, service

pytestmark = pytest.mark.site
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
ETCD = (
    "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt "
    "--cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key"
)


# -- the public port ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/minio/admin/v3/info",
        "/minio/v2/metrics/cluster",
        "/minio/health/live",
        "/%6Dinio/admin/v3/info",
        "/minio%2Fadmin/v3/info",
        "//minio/admin/v3/info",
        "/x/../minio/admin/v3/info",
        "/MINIO/admin/v3/info",
    ],
)
def test_the_administration_of_the_store_is_closed_outside(site: Deployed, path: str) -> None:
    trust = ssl.create_default_context(cafile=str(site.ca_file))
    connection = http.client.HTTPSConnection(f"s3.{site.domain}", site.port, context=trust, timeout=30)
    connection.request("GET", path)  # as it stands: other clients would tidy it up
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b""), "not an answer of MinIO, which has a body"
    connection.close()


def test_there_is_no_console_outside(site: Deployed) -> None:
    trust = ssl.create_default_context(cafile=str(site.ca_file))
    with pytest.raises((ssl.SSLError, httpx.ConnectError)):
        httpx.get(f"https://console.{site.domain}:{site.port}/", verify=trust)
    assert "oscar.test" in site.ssh(FRONT, "cat /etc/caddy/Caddyfile")


def test_the_monitor_token_reads_figures_and_no_more(site: Deployed) -> None:
    token = site.ssh(FRONT, "cat /etc/oscar/secrets/monitor-token").strip()
    assert len(token) >= 32
    trust = ssl.create_default_context(cafile=str(site.ca_file))
    with httpx.Client(base_url=site.api_url, verify=trust, headers={"Authorization": f"Bearer {token}"}) as client:
        for path in ("/metrics", "/v2/backlog"):
            assert client.get(path).status_code == 200, path
        for path in ("/v2/services", "/v2/jobs", "/system/config"):
            assert client.get(path).status_code in (401, 403), path


# -- the machines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["oscar-invoker", "minio", "caddy"])
def test_units_have_limits(site: Deployed, unit: str) -> None:
    shown = site.ssh(FRONT, f"systemctl show {unit} --property=MemoryMax,WatchdogUSec,NotifyAccess,Restart")
    settings = dict(line.split("=", 1) for line in shown.splitlines())
    assert settings["MemoryMax"].isdigit(), "infinity otherwise"
    assert settings["Restart"] == "always"
    if unit == "oscar-invoker":
        assert settings["WatchdogUSec"] == "1min"
        assert settings["NotifyAccess"] == "main"


def test_an_invoker_that_hangs_is_started_again(site: Deployed) -> None:
    before = site.ssh(FRONT, "systemctl show oscar-invoker --property=MainPID --value").strip()
    site.ssh(FRONT, f"kill -STOP {before}")
    deadline = time.monotonic() + 240
    while site.ssh(FRONT, "systemctl show oscar-invoker --property=MainPID --value").strip() in (before, "0"):
        assert time.monotonic() < deadline, "the watchdog did not end it"
        time.sleep(3)
    eventually(lambda: site.ssh(FRONT, "systemctl is-active oscar-invoker", must=False) == "active\n", 120)


def test_jobs_reach_the_store_and_no_port_of_kubernetes(site: Deployed) -> None:
    addresses = {host: named([host])[0].address for host in (FRONT, *WORKERS)}
    targets = [f"{address}:{port}" for address in addresses.values() for port in (10250, 10256, 2379, 22)]
    targets += ["169.254.169.254:80", f"{addresses[FRONT]}:9000"]
    script = f"""for target in {" ".join(targets)}; do
  if nc -w 3 "${{target%:*}}" "${{target#*:}}" </dev/null >/dev/null 2>&1; then echo "$target"; fi
done > "$TMP_OUTPUT_DIR/open"
"""
    site.declare(service("knocking", script))
    put(site, "knocking", "in/a")
    (job,) = site.wait_jobs(1, timeout=400, service="knocking")
    assert job["state"] == "succeeded", job
    found = site.s3().get_object(Bucket="knocking", Key="out/open")["Body"].read().decode().split()
    assert found == [f"{addresses[FRONT]}:9000"]


def test_a_pod_has_a_limit_of_processes_and_a_policy(site: Deployed) -> None:
    for host in (FRONT, *WORKERS):
        assert "podPidsLimit: 4096" in site.ssh(host, "cat /var/lib/kubelet/config.yaml")
    (policy,) = site.kubectl("networkpolicies -n oscar-services")["items"]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}


# -- secrets -----------------------------------------------------------------------------------------------------------


def in_etcd(site: Deployed, key: str) -> str:
    """What etcd itself holds under a key."""
    return site.ssh(
        FRONT,
        f"{KUBECTL} exec -n kube-system etcd-{FRONT} -- {ETCD} get {key} --print-value-only | head -c 400 | base64",
    )


def is_encrypted(site: Deployed, key: str) -> bool:
    return base64.b64decode(in_etcd(site, key)).startswith(b"k8s:enc:secretbox:v1:oscar")


@pytest.fixture
def secret(site: Deployed) -> Iterator[str]:
    site.ssh(FRONT, f"{KUBECTL} create secret generic looked-at --from-literal=word=swordfish -n oscar")
    yield "/registry/secrets/oscar/looked-at"
    site.ssh(FRONT, f"{KUBECTL} delete secret looked-at -n oscar")


def test_secrets_are_encrypted_in_etcd(site: Deployed, secret: str) -> None:
    assert is_encrypted(site, secret)
    assert b"swordfish" not in base64.b64decode(in_etcd(site, secret))
    assert "swordfish" in base64.b64decode(site.kubectl("secret looked-at -n oscar")["data"]["word"]).decode()


@pytest.mark.full
def test_secrets_that_are_there_are_written_again(site: Deployed, secret: str) -> None:
    options = ("--tags", "kubernetes", "--limit", FRONT)
    site.play("site", *options, kubernetes_encrypt_secrets=False)
    assert b"swordfish" in base64.b64decode(in_etcd(site, secret))
    site.play("site", *options)
    assert is_encrypted(site, secret)
    assert changed(site.play("site", *options)) == []


@pytest.mark.full
def test_the_key_of_secrets_is_changed(site: Deployed, secret: str) -> None:
    before = in_etcd(site, secret)
    site.play("rotate_secrets", kubernetes_rotate_encryption_key=True)
    assert is_encrypted(site, secret)
    name = base64.b64decode(in_etcd(site, secret)).split(b":")[4]
    assert name != base64.b64decode(before).split(b":")[4]
    assert "swordfish" in base64.b64decode(site.kubectl("secret looked-at -n oscar")["data"]["word"]).decode()
    kept = site.ssh(FRONT, "ls /etc/kubernetes/oscar /etc/kubernetes/oscar/api-server")
    assert "encryption-former.key" not in kept
    assert kept.count("encryption-") == 1, "settings with the former key are gone, too"
    assert changed(site.play("site", "--tags", "kubernetes", "--limit", FRONT)) == []


def test_the_tokens_of_the_daemons_expire_and_are_renewed(site: Deployed) -> None:
    def token() -> str:
        return site.ssh(FRONT, "cat /etc/oscar/kubeconfig.token").strip()

    def claims(text: str) -> dict[str, float]:
        middle = text.split(".")[1]
        found: dict[str, float] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return found

    before = token()
    assert 0 < claims(before)["exp"] - claims(before)["iat"] <= 86400
    kinds = {found["type"] for found in site.kubectl("secrets -A")["items"]}
    assert "kubernetes.io/service-account-token" not in kinds
    assert "oscar-invoker-token.timer" in site.ssh(FRONT, "systemctl list-timers --no-pager")
    site.ssh(FRONT, "systemctl start oscar-invoker-token.service")
    assert token() != before
    assert site.ssh(FRONT, "stat -c '%a %U %G' /etc/oscar/kubeconfig.token").strip() == "640 root oscar"


# -- backups -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyring() -> Iterator[Path]:
    """The keyring of an administrator; its path is short, as gpg's agent wants it."""
    folder = Path(tempfile.mkdtemp(prefix="gpg-"))
    gpg = ["gpg", "--homedir", str(folder), "--batch", "--quiet"]
    made = [*gpg, "--passphrase", "", "--quick-generate-key", "admin@example.org", "default", "default", "never"]
    subprocess.run(made, check=True, capture_output=True)
    subprocess.run([*gpg, "--armor", "--output", str(folder / "public.asc"), "--export"], check=True)
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def restore(site: Deployed, folder: Path, part: str, **variables: object) -> None:
    book = folder / f"{part}.yml"
    role = {"name": "fedcloud.oscar.backup", "tasks_from": part}
    tasks = [{"name": part, "ansible.builtin.include_role": role}]
    book.write_text(json.dumps([{"hosts": "front_end", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    done = site.ansible.run(book, "-i", str(INVENTORY), "-e", json.dumps(variables))
    assert done.code == 0, done.output[-6000:]


def test_a_backup_is_encrypted_and_comes_back(site: Deployed, tmp_path: Path, keyring: Path) -> None:
    site.declare(service("kept", COPY))
    put(site, "kept", "in/a")
    before = site.wait_jobs(1, service="kept")
    site.play(
        "backup",
        backup_dest=str(tmp_path / "backups"),
        backup_name="site",
        backup_recipient=str(keyring / "public.asc"),
    )
    (archive,) = (tmp_path / "backups").iterdir()
    assert archive.name == "site.tar.gz.gpg"
    assert archive.stat().st_mode & 0o777 == 0o600
    assert site.root_password.encode() not in archive.read_bytes()
    assert not archive.read_bytes().startswith(b"\x1f\x8b"), "not the archive itself"
    given = {"backup_file": str(archive), "backup_gnupg_home": str(keyring)}
    site.ssh(FRONT, f"rm /etc/minio/secrets/root-user; {KUBECTL} delete oscarservice kept -n oscar-services")
    restore(site, tmp_path, "restore_secrets", **given)
    modes = site.ssh(FRONT, "stat -c %a /etc/minio/secrets /etc/minio/secrets/root-user")
    assert modes.split() == ["700", "600"]
    restore(site, tmp_path, "restore_state", **given)
    assert site.jobs(service="kept") == before
    put(site, "kept", "in/b")
    assert {job["state"] for job in site.wait_jobs(2, service="kept")} == {"succeeded"}


def test_a_backup_that_is_not_encrypted_is_for_its_owner(site: Deployed, tmp_path: Path) -> None:
    site.play("backup", backup_dest=str(tmp_path), backup_name="plain", backup_etcd=False)
    (archive,) = tmp_path.iterdir()
    assert archive.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["tar", "--list", "--file", archive], capture_output=True, text=True, check=True).stdout
    assert {"state/ledger.db", "state/services.json", "etc/oscar/secrets/monitor-token"} <= set(listed.splitlines())
    assert "etc/kubernetes/oscar/encryption.key" in listed
