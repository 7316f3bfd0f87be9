# SPDX-License-Identifier: Apache-2.0
"""``runner.sh`` alone: what the script sees, how it is run and ended, and where its log goes."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from parts.jobs import SHELLS, Runner, Store, run, service, spec_of
from parts.rclone_s3 import RcloneS3


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The store of the single-machine profile."""
    with RcloneS3() as server:
        yield Store(server)


@pytest.mark.parametrize("shell", SHELLS)
def test_log_is_stored_and_outputs_are_not_when_the_script_fails(store: Store, shell: tuple[str, ...]) -> None:
    event = store.put("in/bad.txt", b"x")
    script = 'echo half >"$TMP_OUTPUT_DIR/half.txt"; echo "went wrong" >&2; exit 3'
    job = spec_of(store, service(script), event)
    ended = run(job, shell)
    assert (ended.code, ended.phase, ended.reason) == (3, "script", "the script ended with exit code 3")
    assert "out/half.txt" not in store.names()
    log = store.read(f"step/{job.job}.log", "logs")
    assert b"went wrong\n" in log
    assert b"exit code 3" in log


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_sees_its_variables_and_no_storage_key(store: Store, shell: tuple[str, ...]) -> None:
    event = store.put("in/env", b"x")
    variables = {
        "GREETING": "two  words $(id) `id` *",
        "MULTI": "one\nRCLONE_FAKE=2\ntwo",
        "size": "mine",
        "RCLONE_MINE": "a b",
    }
    of = service(
        "env; echo 'python'; echo \"$MULTI\"", environment={"variables": variables, "secrets": {"KEY": "s3cret"}}
    )
    ended = run(spec_of(store, of, event), shell)
    assert ended.code == 0
    for line in (
        "GREETING=two  words $(id) `id` *",
        "size=mine",
        "RCLONE_MINE=a b",
        "KEY=s3cret",
        "OSCAR_SERVICE_NAME=step",
    ):
        assert f"\n{line}\n" in f"\n{ended.output}"
    assert f"OSCAR_SERVICE_TOKEN={'7' * 64}" in ended.output
    assert 'EVENT={"Records": [{' in ended.output
    assert "one\nRCLONE_FAKE=2\ntwo" in ended.output
    own = r"(?m)^(RCLONE_(?!MINE|FAKE)\w+|OSCAR_(?:INPUT|OUTPUT|LOG|RCLONE|SCRIPT|RESULT|STAG|USER)\w*|o_\w+)="
    assert re.findall(own, ended.output) == []
    assert store.server.secret_key not in ended.output
    assert not any(store.server.secret_key.encode() in store.read(key, "logs") for key in store.names(bucket="logs"))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/usr/bin/env python3\nimport sys\nprint('py', 1 + 1, sys.argv[1:])", "py 2 []"),
        ("#! /usr/bin/env -S python3 -O\nprint('optimised', not __debug__)", "optimised True"),
        ("#!/no/such/interpreter\necho by-sh", "by-sh"),
        ("#!/usr/bin/env no-such-interpreter\necho by-sh", "by-sh"),
        ("#!/bin/sh -e\nfalse\necho on", "exit code 1"),
        ("echo no-shebang", "no-shebang"),
        ("", "done"),
    ],
)
def test_shebangs(store: Store, shell: tuple[str, ...], script: str, expected: str) -> None:
    of = replace(service("true"), script=script)
    ended = run(replace(spec_of(store, of, store.put("in/shebang", b"x"), log_bucket="")), shell)
    assert expected in ended.output


def test_a_signal_ends_the_script_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    event = store.put("in/term", b"x")
    runner = Runner(
        spec_of(store, service(f'echo x >"$TMP_OUTPUT_DIR/never"; touch {tmp_path}/on; exec sleep 60'), event)
    )
    while not (tmp_path / "on").exists():
        time.sleep(0.05)
    runner.process.send_signal(signal.SIGTERM)
    ended = runner.wait(20)
    assert (ended.code, ended.phase, ended.left) == (143, "stopped", [])
    assert "out/never" not in store.names()


def test_a_long_log_keeps_its_beginning_and_its_end(store: Store) -> None:
    event = store.put("in/long", b"x")
    job = spec_of(store, service("echo first; yes 0123456789 | head -n 50000; echo last"), event, log_max=20000)
    assert run(job).code == 0
    log = store.read(f"step/{job.job}.log", "logs")
    assert len(log) < 21000
    assert log.startswith(b"first\n")
    assert b"\nlast\n" in log
    assert b"a log that exceeds 20000 bytes loses its middle" in log


def test_what_a_script_leaves_running_does_not_hold_the_job(store: Store) -> None:
    event = store.put("in/daemon", b"x")
    job = spec_of(store, service("sleep 60 & echo on"), event)
    runner = Runner(job)
    assert runner.process.wait(40) == 0
    assert runner.wait().left == []
    assert b"on\n" in store.read(f"step/{job.job}.log", "logs")


def test_links_are_followed_and_read_only_folders_removed(store: Store) -> None:
    event = store.put("in/link", b"linked")
    script = """
        ln -s "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/link"
        mkdir "$TMP_INPUT_DIR/ro" && touch "$TMP_INPUT_DIR/ro/x" && chmod 500 "$TMP_INPUT_DIR/ro"
    """
    ended = run(spec_of(store, service(script), event))
    assert (ended.code, ended.left) == (0, [])
    assert store.read("out/link") == b"linked"
