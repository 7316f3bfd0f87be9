# SPDX-License-Identifier: Apache-2.0
"""Whatever a server, the environment or a file of contexts says, ``oscar`` ends with one sentence."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from oscar_fedcloud.cli.oscar.main import main

PROBLEM = "application/problem+json"
JOB = "0123456789abcdef01"
COMMANDS = [
    ["get"],
    ["describe", "svc"],
    ["jobs"],
    ["job", JOB],
    ["job", "svc"],
    ["fetch", JOB],
    ["retry", JOB],
    ["why", "bucket/key"],
    ["buckets"],
    ["ls", "bucket"],
    ["services", "revisions", "svc"],
    ["delete", "svc", "--yes"],
    ["put", "s.sh", "svc"],
]
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"<html>",
    b"[" * 100_000,
    b'{"jobs": [null], "services": [{}], "buckets": 5, "objects": {"a": 1}, "answers": [1], "revisions": "x"}',
    json.dumps({"id": JOB, "name": "svc", "state": 5, "document": {"input": [3]}, "outputs": [{}]}).encode(),
]


class Lying(ThreadingHTTPServer):
    """Says that it is a server of ours, and then the same to every request."""

    daemon_threads = True
    answer = (200, "application/json", b"{}")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, body = (200, "text/plain", b"ok") if self.path == "/livez" else lying.answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    lying = Lying(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lying.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    (tmp_path / "s.sh").write_text("cat\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OSCAR_ENDPOINT", f"http://127.0.0.1:{lying.server_address[1]}")
    monkeypatch.setenv("OSCAR_TOKEN", "token")
    yield lying
    lying.shutdown()
    thread.join()
    lying.server_close()


@pytest.mark.parametrize("body", BODIES, ids=[str(body[:12]) for body in BODIES])
def test_an_answer_that_is_none_is_one_sentence(server: Lying, body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = (200, "application/json", body)
    for command in COMMANDS:
        assert main(command) == 6, command
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("oscar: http://127.0.0.1:"), command
        assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    "document",
    [b"[" * 100_000, b"[]", b'{"errors": ["x", 3, {"path": 1}], "detail": "it is wrong"}', b'{"errors": {"a": 1}}'],
)
def test_a_problem_that_is_none_is_one_sentence(
    server: Lying, document: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = (422, PROBLEM, document)
    assert main(["job", JOB]) == 1
    assert capsys.readouterr().err.startswith("oscar: ")


def test_nothing_that_a_server_says_moves_the_terminal(server: Lying, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = (404, PROBLEM, json.dumps({"detail": "gone \x1b[2J\x1b]0;title\x07 \u202e"}).encode())
    assert main(["job", JOB]) == 4
    assert capsys.readouterr().err == "oscar: gone \\x1b[2J\\x1b]0;title\\x07 \\u202e\n"
    assert main(["cancel", JOB]) == 4
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OSCAR_TOKEN", "first\nthe-secret", "the token holds characters"),
        ("OSCAR_TOKEN", "the-secrèt", "the token holds characters"),
        ("http_proxy", "bogus://proxy", "http_proxy"),
        ("all_proxy", "socks5://127.0.0.1:1", "SOCKS is not supported"),
    ],
)
def test_what_the_environment_says_is_named_and_no_secret_is(
    server: Lying,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    words: str,
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    assert main(["get"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "the-secr" not in told


def test_certificates_of_an_unknown_user_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OSCAR_ENDPOINT", "https://127.0.0.1:1")
    monkeypatch.setenv("OSCAR_CA_FILE", "~nobody-of-that-name/ca.pem")
    assert main(["get"]) == 2
    assert "ca_file ~nobody-of-that-name/ca.pem cannot be used" in capsys.readouterr().err


def test_a_service_that_this_program_does_not_understand_is_said(
    server: Lying, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = (200, "application/json", json.dumps({"name": "svc", "document": {"name": "svc"}}).encode())
    assert main(["put", "s.sh", "svc"]) == 1
    assert "does not understand the server's document" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--password-stdin", "--token-stdin"])
def test_an_empty_standard_input_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.setenv("OSCAR_CONFIG", str(tmp_path / "contexts.yml"))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["context", "add", "one", "http://one", option]) == 2
    assert "standard input is empty" in capsys.readouterr().err
    assert not (tmp_path / "contexts.yml").exists()


@pytest.mark.parametrize("before", ["", "contexts:\n", "contexts: []\n", "contexts: {1: {endpoint: 'http://one'}}\n"])
def test_a_file_of_contexts_that_was_edited_by_hand_can_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    file = tmp_path / "contexts.yml"
    file.write_text(before)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OSCAR_CONFIG", str(file))
    for arguments in (["add", "1", "http://one"], ["add", "two", "http://two"], ["use", "1"]):
        assert main(["context", *arguments]) == 0, capsys.readouterr().err
    assert main(["context", "list", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == ["1", "two"]
    assert main(["context", "remove", "1"]) == 0
    assert main(["context", "list", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == ["two"]
