# SPDX-License-Identifier: Apache-2.0
"""The inventory plugin im, by ansible-inventory, over the real Infrastructure Manager."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import OLDEST, VERSIONS, Ansible
from parts.im import ImServer

SITE = """
network public (outbound = 'yes')
network private ()
system front_end (
  cpu.count >= 1 and memory.size >= 1024m and instance_tags = 'pool=front,site=bari' and
  net_interface.0.connection = 'public' and net_interface.0.dns_name = 'front.example.org' and
  net_interface.1.connection = 'private' and
  disk.0.os.name = 'linux' and disk.0.image.url = 'mock0://linux.for.ev.er/image1' and
  disk.0.os.credentials.username = 'user' and disk.0.os.credentials.password = 'secret-pass'
)
system gpu-workers (
  cpu.count >= 1 and memory.size >= 1024m and
  net_interface.0.connection = 'private' and net_interface.0.dns_name = '{name}' and
  disk.0.os.name = 'linux' and disk.0.image.url = 'mock0://linux.for.ev.er/image1' and
  disk.0.os.credentials.username = 'user' and disk.0.os.credentials.password = 'secret-pass'
)
contextualize ()
deploy front_end 1
deploy gpu-workers 2
"""


@pytest.fixture(scope="module")
def im() -> Iterator[ImServer]:
    with ImServer() as server:
        yield server


@pytest.fixture(scope="module")
def site(im: ImServer) -> str:
    infrastructure = im.create(SITE.replace("{name}", "wn-#N#"))
    im.wait_running(infrastructure)
    return infrastructure


def _plain(value: dict[str, Any]) -> Any:
    """Newer versions of Ansible mark what comes from outside."""
    return value["__ansible_unsafe"] if value.keys() == {"__ansible_unsafe"} else value


class Inventory:
    """A folder with an inventory file, listed by one version of Ansible."""

    def __init__(self, folder: Path, version: str, im: ImServer) -> None:
        self.ansible = Ansible(version, folder)
        self.file = folder / "site.im.yml"
        self.settings = {"plugin": "fedcloud.oscar.im", "url": im.url, "auth_file": str(im.auth_file)}

    def run(self, **settings: Any) -> subprocess.CompletedProcess[str]:
        self.file.write_text(yaml.safe_dump(self.settings | settings))
        environment = self.ansible._environment(self.ansible.folder / "results") | {
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"
        }
        command = [self.ansible.bin / "ansible-inventory", "-i", self.file, "--list"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def read(self, **settings: Any) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
        """Groups with their hosts, and hosts with their variables."""
        done = self.run(**settings)
        assert done.returncode == 0, done.stderr
        assert "secret-pass" not in done.stdout
        listing = json.loads(done.stdout, object_hook=_plain)
        groups = {name: sorted(entry["hosts"]) for name, entry in listing.items() if entry.get("hosts")}
        return groups, listing["_meta"]["hostvars"]

    def error(self, **settings: Any) -> str:
        done = self.run(**settings)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(params=sorted(VERSIONS))
def inventory(request: pytest.FixtureRequest, tmp_path: Path, im: ImServer) -> Inventory:
    return Inventory(tmp_path, request.param, im)


@pytest.fixture
def oldest(tmp_path: Path, im: ImServer) -> Inventory:
    return Inventory(tmp_path, OLDEST, im)


def test_hosts_are_grouped_by_system_with_their_addresses(inventory: Inventory, site: str) -> None:
    groups, hosts = inventory.read(infrastructures=[site])
    assert groups == {"front_end": ["front"], "gpu_workers": ["wn-1", "wn-2"]}
    assert hosts["front"]["ansible_host"] == hosts["front"]["im_public_ip"] == "10.77.0.2"
    assert hosts["wn-1"]["ansible_host"] == hosts["wn-1"]["im_private_ip"]
    assert hosts["wn-2"]["im_state"] == "configured"
    assert hosts["front"]["im_tags"] == {"pool": "front", "site": "bari"}
    assert (hosts["wn-2"]["im_id"], hosts["wn-2"]["im_infrastructure"]) == (2, site)
    assert hosts["wn-2"]["ansible_user"] == "username"


def test_constructed_groups_and_variables(inventory: Inventory, site: str) -> None:
    groups, hosts = inventory.read(
        infrastructures=[site],
        keyed_groups=[
            {"key": "im_cloud", "prefix": "cloud"},
            {"key": "im_tags.pool | default('none')", "prefix": "pool"},
        ],
        groups={"public": "im_public_ip != ''"},
        compose={"node_ip": "im_private_ip"},
        strict=True,
    )
    assert groups["cloud_Dummy"] == ["front", "wn-1", "wn-2"]
    assert groups["pool_front"] == groups["public"] == ["front"]
    assert hosts["wn-1"]["node_ip"] == hosts["wn-1"]["im_private_ip"]


def test_strict_says_what_cannot_be_composed(oldest: Inventory, site: str) -> None:
    assert "nonexistent" in oldest.error(infrastructures=[site], compose={"x": "nonexistent.y"}, strict=True)
    oldest.read(infrastructures=[site], compose={"x": "nonexistent.y"})


def test_the_address_and_the_states_are_chosen(oldest: Inventory, site: str) -> None:
    _, hosts = oldest.read(infrastructures=[site], address="public")
    assert "ansible_host" not in hosts["wn-1"]
    groups, _ = oldest.read(infrastructures=[site], states=["failed"])
    assert groups == {}


def test_all_infrastructures_are_read_and_equal_names_told_apart(oldest: Inventory, site: str, im: ImServer) -> None:
    other = im.create(SITE.replace("{name}", "same"))
    try:
        _, hosts = oldest.read()
        assert {"wn-1", "wn-2", "same", "same-2", "front", "front-0"} == set(hosts)
    finally:
        im.request("DELETE", f"/infrastructures/{other}")


def test_the_cache_spares_im(oldest: Inventory, site: str, im: ImServer, tmp_path: Path) -> None:
    cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}
    _, before = oldest.read(infrastructures=[site], **cache)
    im.stop()
    try:
        _, after = oldest.read(infrastructures=[site], **cache)
        assert after == before
        assert "does not answer" in oldest.error(infrastructures=[site])
    finally:
        im.start()
    for file in (tmp_path / "cache").iterdir():
        assert "type = Dummy" not in file.read_text()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"infrastructures": ["nothing"]}, "IM answered 404"),
        ({"auth_file": "/nonexistent/auth.dat"}, "auth_file /nonexistent/auth.dat cannot be read"),
        ({"url": "http://127.0.0.1:9"}, "IM does not answer at http://127.0.0.1:9/"),
        ({"address": "floating"}, "address"),
    ],
)
def test_what_is_wrong_is_said(oldest: Inventory, settings: dict[str, Any], words: str) -> None:
    assert words in oldest.error(**settings).replace("\n", " ")


@pytest.mark.parametrize(
    "answer", ["[]", "5", '{"uri-list": [{}]}', '{"uri-list": [{"uri": "a/vms/x"}]}', "[" * 100_000]
)
def test_what_is_not_im_is_one_sentence(oldest: Inventory, answer: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        told = oldest.error(url=f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert "is not IM" in told
    assert "Traceback" not in told
