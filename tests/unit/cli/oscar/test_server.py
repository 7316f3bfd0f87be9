# SPDX-License-Identifier: Apache-2.0
"""What the command asks of a server under /v2, and what it says when none answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from parts.paged import paged_server

from oscar_fedcloud.cli.oscar.commands import logs
from oscar_fedcloud.cli.oscar.contexts import Context
from oscar_fedcloud.cli.oscar.errors import Unreachable
from oscar_fedcloud.cli.oscar.http import Http
from oscar_fedcloud.cli.oscar.server import Server


@contextmanager
def server_at(endpoint: str) -> Iterator[Server]:
    server = Server(Http(Context("test", endpoint), dict))
    try:
        yield server
    finally:
        server.close()


def test_lists_are_read_to_their_last_page() -> None:
    names = [f"name-{number}" for number in range(7)]
    named = [{"name": name} for name in names]
    services = [{"name": name, "document": {}} for name in names]
    revisions = [{"revision": str(number), "changed": "2026-01-01T00:00:00Z"} for number in range(7, 0, -1)]
    objects = [{"key": name, "bucket": "data", "size": 1, "etag": "", "modified": ""} for name in names]
    lists = {
        "/v2/services": ("services", services),
        "/v2/buckets": ("buckets", named),
        "/v2/services/svc/revisions": ("revisions", revisions),
        "/v2/buckets/data/objects": ("objects", objects),
        "/v2/jobs/abc/outputs": ("outputs", objects),
    }
    with paged_server(lists, 3) as (url, asked), server_at(url) as server:
        assert [one["name"] for one in server.services()] == names
        assert server.buckets() == names
        assert server.revisions("svc") == revisions
        assert list(server.all_objects("data", "")) == objects
        assert server.outputs({"id": "abc", "outputs": objects[:3], "outputs_total": 7}) == objects
        assert len(asked) == 3 * len(lists)


class GrowingLog:
    """A job whose log gets a line for each look, until it ends. ``served``: bytes of its answers."""

    def __init__(self, lines: int) -> None:
        self.left, self.log, self.served = lines, b"", 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/log"):
            state = "running" if self.left else "succeeded"
            texts = dict.fromkeys(("service", "reason", "bucket", "key", "revision", "created", "finished"), "")
            return httpx.Response(200, json={"id": "abc", "state": state, "attempts": 1, **texts})
        self.log += f"line {self.left}\n".encode()
        self.left = max(0, self.left - 1)
        query = request.url.params
        lines = int(query.get("tail", len(self.log)))
        part = self.log[int(query.get("offset", 0)) :].splitlines(keepends=True)[-lines:]
        self.served += sum(map(len, part))
        return httpx.Response(200, content=b"".join(part), headers={"Log-Offset": str(len(self.log))})


@pytest.mark.parametrize("tail", [None, 1])
def test_a_log_that_is_followed_is_sent_once(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tail: int | None
) -> None:
    job = GrowingLog(5)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with server_at("http://oscar.example.org") as server:
        server.http._client = httpx.Client(transport=httpx.MockTransport(job.answer))
        logs._follow(SimpleNamespace(server=server), {"id": "abc"}, None, tail)
    assert job.left == 0
    assert capfdbinary.readouterr().out == job.log
    assert job.served == len(job.log)


@pytest.mark.parametrize(
    ("proxy", "shown"), [("http://127.0.0.1:1", "http://127.0.0.1:1"), ("http://ana:geheim@127.0.0.1:1", "127.0.0.1:1")]
)
def test_a_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, shown: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with server_at("http://oscar.example.org") as server, pytest.raises(Unreachable) as raised:
        server.services()
    assert f"http://oscar.example.org cannot be reached by the proxy {shown} (see http_proxy" in str(raised.value)
    assert "geheim" not in str(raised.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with (
        server_at("http://127.0.0.1:1") as server,
        pytest.raises(Unreachable, match=r"^http://127\.0\.0\.1:1 cannot be reached: "),
    ):
        server.services()
