# SPDX-License-Identifier: Apache-2.0
"""What users are told when a request fails."""

from __future__ import annotations

import io
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fedcloud.oscar.plugins.module_utils._api.client import (
    ApiError,
    Client,
    OscarError,
    Unreachable,
    object_path,
    path,
)

Answer = tuple[int, dict[str, str], bytes]
Serve = Callable[[Answer], tuple[str, list[dict[str, Any]]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with one fixed answer; gives its URL and the requests that it gets."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def start(answer: Answer) -> tuple[str, list[dict[str, Any]]]:
        seen: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen.append({"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body})
                self.send_response(answer[0])
                for name, value in answer[1].items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer[2])))
                self.end_headers()
                self.wfile.write(answer[2])

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}", seen

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def problem(status: int, detail: str, *errors: dict[str, Any]) -> Answer:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": detail, "errors": list(errors)}
    return status, {"Content-Type": "application/problem+json"}, json.dumps(body).encode()


def test_all_errors_of_a_problem_are_in_the_message(serve: Serve) -> None:
    first = {
        "path": "functions.oscar[1].grayify.memory",
        "value": "2 GB",
        "message": "'2 GB' is no memory",
        "hint": "use 2Gi",
    }
    second = {
        "path": "functions.oscar[0].a.cpus",
        "value": 1,
        "message": "cpus is not known",
        "hint": "did you mean cpu?",
    }
    url, _ = serve(problem(422, "the document has 2 problems", first, second))
    with pytest.raises(ApiError) as raised:
        Client(url).post("/v2/services:apply", {})
    assert raised.value.message == (
        "2 errors were found:\n"
        "- functions.oscar[1].grayify.memory: '2 GB' is no memory; use 2Gi\n"
        "- functions.oscar[0].a.cpus: cpus is not known; did you mean cpu?"
    )
    assert raised.value.details == {"status": 422, "errors": [first, second]}


def test_a_problem_without_errors_is_its_detail(serve: Serve) -> None:
    url, _ = serve(problem(409, "job x has ended"))
    with pytest.raises(ApiError, match=r"^job x has ended$") as raised:
        Client(url).get("/v2/jobs/x")
    assert raised.value.status == 409
    assert raised.value.is_problem


@pytest.mark.parametrize(
    ("credentials", "who"),
    [({"username": "ana", "password": "p"}, "user ana"), ({"username": "ana", "token": "t"}, "the token")],
)
def test_a_refused_identity_is_named(serve: Serve, credentials: dict[str, str], who: str) -> None:
    url, _ = serve(problem(401, "valid credentials are needed"))
    with pytest.raises(ApiError) as raised:
        Client(url, **credentials).get("/v2/services")
    assert raised.value.message == f"{url} refused {who}: valid credentials are needed"


def test_a_server_without_the_api_is_recognised(serve: Serve) -> None:
    url, _ = serve((404, {"Content-Type": "text/plain"}, b"404 page not found"))
    with pytest.raises(ApiError, match="has no /v2/services; endpoint must be the base URL of an invoker") as raised:
        Client(url).get("/v2/services")
    assert not raised.value.is_problem


def test_a_redirected_change_is_not_repeated_elsewhere(serve: Serve) -> None:
    url, seen = serve((308, {"Location": "https://oscar.example.org/"}, b""))
    with pytest.raises(ApiError, match=r"redirects to https://oscar\.example\.org/; set endpoint to that address"):
        Client(url).post("/v2/services:apply", {})
    assert len(seen) == 1


def test_an_answer_that_is_not_json_points_to_the_endpoint(serve: Serve) -> None:
    url, _ = serve((200, {"Content-Type": "text/html"}, b"<html>"))
    with pytest.raises(OscarError, match="answered GET /v2/services by something that is not JSON"):
        Client(url).get("/v2/services")


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b'"x"', b"5"], ids=["deep", "list", "text", "number"])
def test_an_answer_that_is_no_object_points_to_the_endpoint(serve: Serve, body: bytes) -> None:
    url, _ = serve((200, {"Content-Type": "application/json"}, body))
    with pytest.raises(OscarError, match="endpoint must be the base URL of the API"):
        Client(url).get("/v2/services")


def test_a_member_that_an_answer_lacks_is_named(serve: Serve) -> None:
    url, _ = serve((200, {"Content-Type": "application/json"}, b'{"jobs": [{"id": "a"}]}'))
    with pytest.raises(OscarError, match="the server's answer has no 'state'"):
        Client(url).get("/v2/jobs")["jobs"][0]["state"]


@pytest.mark.parametrize("errors", [["x", 3, {"path": 1}], {"a": 1}, "x", 7])
def test_errors_that_are_none_leave_the_detail(serve: Serve, errors: Any) -> None:
    body = json.dumps({"title": "t", "detail": "it is wrong", "errors": errors}).encode()
    url, _ = serve((422, {"Content-Type": "application/problem+json"}, body))
    with pytest.raises(ApiError, match="it is wrong"):
        Client(url).get("/v2/services")


def test_other_errors_keep_the_servers_text(serve: Serve) -> None:
    url, _ = serve((502, {"Content-Type": "text/html"}, b"<h1>Bad\n gateway</h1>"))
    with pytest.raises(ApiError, match="failed with HTTP status 502: <h1>Bad gateway</h1>"):
        Client(url).get("/v2/services")


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of its own; gives its URL and the certificate."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """Clients that do not trust the certificate hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    thread.join()
    server.server_close()


def test_certificates_are_checked(tls_server: tuple[str, Path]) -> None:
    url, certificate = tls_server
    with pytest.raises(Unreachable, match=r"cannot be reached: .*(?i:certificate)"):
        Client(url).get("/v2/services")
    assert Client(url, ca_path=str(certificate)).get("/v2/services") == {}
    assert Client(url, validate_certs=False).get("/v2/services") == {}


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://127.0.0.1:1/", "nonsense", "http://"])
def test_a_server_that_is_not_there(endpoint: str) -> None:
    with pytest.raises(Unreachable, match=f"^{endpoint.rstrip('/')} cannot be reached: .+"):
        Client(endpoint).get("/v2/services")


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [("http://127.0.0.1:1", "http://127.0.0.1:1"), ("http://ana:geheim@127.0.0.1:1", "http://…@127.0.0.1:1")],
)
def test_a_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, shown: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(Unreachable) as raised:
        Client("http://oscar.example.org").get("/v2/services")
    assert f"cannot be reached through the proxy {shown} (environment variable http_proxy" in raised.value.message
    assert "geheim" not in raised.value.message
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(Unreachable, match=r"^http://127\.0\.0\.1:1 cannot be reached: "):
        Client("http://127.0.0.1:1").get("/v2/services")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_without_room_is_asked_again(serve: Serve, status: int) -> None:
    code, headers, body = problem(status, "too many bytes are on their way")
    url, seen = serve((code, {**headers, "Retry-After": "7"}, body))
    client, waits = Client(url), []
    client._sleep = waits.append
    with pytest.raises(ApiError, match="too many bytes"):
        client.send("PUT", "/v2/x", io.BytesIO(b"abc"), headers={"Content-Length": "3"})
    assert waits == [7] * 5
    assert [one["body"] for one in seen] == [b"abc"] * 6


@pytest.mark.parametrize("answer", [{}, {"Retry-After": "3600"}, {"Retry-After": "tomorrow"}])
def test_a_server_that_names_no_near_time_is_not(serve: Serve, answer: dict[str, str]) -> None:
    code, headers, body = problem(503, "the store is away")
    url, seen = serve((code, {**headers, **answer}, body))
    with pytest.raises(ApiError, match="the store is away"):
        Client(url).get("/v2/x")
    assert len(seen) == 1


def test_requests_carry_identity_and_body(serve: Serve) -> None:
    url, seen = serve((200, {"Content-Type": "application/json"}, b"{}"))
    Client(url, "ana", "geheim").post("/v2/services:apply", {"state": "present"}, dry_run="true", cursor=None)
    Client(url + "/", "ana", "geheim", "tok").send("PUT", "/v2/x", io.BytesIO(b"abc"), headers={"Content-Length": "3"})
    assert seen[0]["path"] == "/v2/services:apply?dry_run=true"
    assert seen[0]["headers"]["Authorization"] == "Basic YW5hOmdlaGVpbQ=="
    assert json.loads(seen[0]["body"]) == {"state": "present"}
    assert seen[1]["headers"]["Authorization"] == "Bearer tok"
    assert seen[1]["body"] == b"abc"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (path("v2", "jobs", "abc:cancel"), "/v2/jobs/abc:cancel"),
        (path("v2", "services", "a/../b c"), "/v2/services/a%2F..%2Fb%20c"),
        (object_path("b", "in/a b+c%é\n\udcff.txt"), "/v2/buckets/b/objects/in/a%20b%2Bc%25%C3%A9%0A%FF.txt"),
    ],
)
def test_names_and_keys_become_one_path(made: str, expected: str) -> None:
    assert made == expected
