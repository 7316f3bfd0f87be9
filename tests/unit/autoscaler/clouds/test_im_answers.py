# SPDX-License-Identifier: Apache-2.0
"""Whatever answers in place of IM is a cloud that is away: nothing is made twice, and the autoscaler goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from oscar_fedcloud.autoscaler.clouds.im import ImCloud, ImConfig
from oscar_fedcloud.autoscaler.clouds.protocol import CloudUnavailable, MachineRequest

STATES = {"state": {"state": "running", "vm_states": {"1": "running"}}}
VM = {"radl": [{"class": "system", "instance_tags": "oscar-cluster=other", "net_interface.0.dns_name": "n"}]}
NONE = {"state": {"state": "running", "vm_states": {}}}
ODD = [
    b"[",
    b"[" * 100_000,
    b"[]",
    b"5",
    b'"\xff"',
    b"{}",
    b'{"state": 5}',
    b'{"state": {"vm_states": []}}',
    b'{"state": {"vm_states": {"1": 5}}}',
]
ODD_VMS = [b"[]", b'{"radl": 5}', b'{"radl": [5]}', b'{"radl": {"class": "system"}}', b"[" * 100_000]
ODD_MADE = [b"[]", b'{"uri-list": 5}', b'{"uri-list": [5]}', b'{"uri-list": [{}]}', b'{"uri-list": [{"uri": 5}]}']


class Answering(ThreadingHTTPServer):
    """Gives one answer to each path; the last part of the path is its name, and POST has its own."""

    daemon_threads = True
    answers: dict[str, bytes]
    posted = 0


@pytest.fixture
def server() -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answering.posted += self.command == "POST"
            name = "POST" if self.command == "POST" else self.path.rpartition("/")[2]
            body = answering.answers[name]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    answering = Answering(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield answering
    answering.shutdown()
    thread.join()
    answering.server_close()


@pytest.fixture
async def cloud(server: Answering, tmp_path: Path) -> Any:
    (tmp_path / "auth").write_text("type = InfrastructureManager; username = u; password = p\n")
    url = f"http://127.0.0.1:{server.server_address[1]}"
    config = ImConfig(url=url, infrastructure="i", auth_file=str(tmp_path / "auth"))
    made = ImCloud("im", config, "oscar")
    yield made
    await made.close()


@pytest.mark.parametrize("body", ODD, ids=[str(body[:40]) for body in ODD])
async def test_states_that_are_none(cloud: ImCloud, server: Answering, body: bytes) -> None:
    server.answers = {"state": body, "1": json.dumps(VM).encode()}
    with pytest.raises(CloudUnavailable):
        await cloud.machines()


@pytest.mark.parametrize("body", ODD_VMS, ids=[str(body[:40]) for body in ODD_VMS])
async def test_a_vm_that_is_none_is_not_taken_for_one_of_others(cloud: ImCloud, server: Answering, body: bytes) -> None:
    server.answers = {"state": json.dumps(STATES).encode(), "1": body}
    with pytest.raises(CloudUnavailable):
        await cloud.machines()


@pytest.mark.parametrize("body", ODD_MADE, ids=[str(body[:40]) for body in ODD_MADE])
async def test_what_was_asked_for_is_not_asked_for_again_when_the_answer_is_none(
    cloud: ImCloud, server: Answering, body: bytes
) -> None:
    server.answers = {"state": json.dumps(NONE).encode(), "POST": body}
    request = MachineRequest("n1", "cpu", {"image": "mock://image"}, "#cloud-config\n{}")
    for _ in range(2):
        with pytest.raises(CloudUnavailable):
            await cloud.create([request])
    assert server.posted == 1
