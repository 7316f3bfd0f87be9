# SPDX-License-Identifier: Apache-2.0
"""The state of a standalone server, determined from outside: whether it runs and is ready, and its addresses."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from oscar_fedcloud.standalone.data_dir import ADMIN, DataDir, ProfileError, read_json
from oscar_fedcloud.standalone.embedded_store import LOOPBACK


def describe(data_dir: DataDir) -> dict[str, Any]:
    """Return the state of a server as plain data."""
    settings = data_dir.settings()
    if settings is None:
        return {"state": "stopped", "ready": False, "data": str(data_dir.folder)}
    running = is_running(data_dir)
    state = (read_json(data_dir.state_file) or {}) if running else {}
    health = _readyz(settings.port) if running else {}
    return {
        "state": "running" if running else "stopped",
        "ready": health.pop("ready", False),
        "endpoint": f"http://{LOOPBACK}:{settings.port}",
        "user": ADMIN,
        "password_file": str(data_dir.password_file),
        "store_endpoint": f"http://{LOOPBACK}:{settings.store_port}",
        "store_access_key_file": str(data_dir.access_key_file),
        "store_secret_key_file": str(data_dir.secret_key_file),
        "store_folder": str(data_dir.store_folder),
        "data": str(data_dir.folder),
        "logs": str(data_dir.log_file("invoker").parent),
        "container": settings.container,
        "max_running": settings.max_running,
        "pids": {"supervisor": state.get("pid", 0)} | {n: p["pid"] for n, p in state.get("parts", {}).items()},
        "restarts": {n: p["restarts"] for n, p in state.get("parts", {}).items()},
        "health": health,
    }


def _readyz(port: int) -> dict[str, Any]:
    """Return the readiness of the server's parts, with ``ready`` added."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5.0)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read()
        return {**json.loads(body or b"{}"), "ready": answer.status == 200}
    except (OSError, ValueError, http.client.HTTPException):
        return {"ready": False}
    finally:
        connection.close()


def print_status(facts: Mapping[str, Any], as_json: bool) -> None:
    """Print the result of ``describe`` as JSON or text."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for line in lines(facts):
        print(line)


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the state of a server as lines of text."""
    yield _line("state", _state(facts))
    yield _line("data", facts["data"])
    if "endpoint" not in facts:
        return
    yield _line("API", f"{facts['endpoint']} (user {facts['user']}, password in {facts['password_file']})")
    yield _line("store", f"{facts['store_endpoint']} (S3; keys in {facts['store_access_key_file']} and")
    yield _line("", f"{facts['store_secret_key_file']})")
    yield _line("files", f"{facts['store_folder']} (one folder for each bucket)")
    yield _line("jobs", f"{_at_once(facts['max_running'])}, in containers: {facts['container']}")
    yield _line("logs", facts["logs"])
    if facts["state"] == "running":
        yield _line("processes", _pairs(facts["pids"]))
        yield _line("restarts", _pairs({name: count for name, count in facts["restarts"].items() if count}) or "none")
        yield _line("health", _health(facts["health"]))


def _line(name: str, text: str) -> str:
    return f"{name:10} {text}".rstrip()


def _state(facts: Mapping[str, Any]) -> str:
    if facts["state"] != "running":
        return str(facts["state"])
    return "running, ready" if facts["ready"] else "running, not ready"


def _at_once(count: int) -> str:
    return f"{count} at once" if count else "one per processor at once"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _health(health: Mapping[str, Any]) -> str:
    parts = health.get("parts") or {}
    bad = [f"{name}: {part.get('detail') or 'does not work'}" for name, part in parts.items() if not part.get("ok")]
    if not parts:
        return "the server does not answer"
    return "; ".join(bad) or f"all {len(parts)} parts work ({', '.join(parts)})"


@contextlib.contextmanager
def locked(data_dir: DataDir, wait: float = 0.0) -> Iterator[bool]:
    """Hold the data folder's lock; False if another process holds it for ``wait`` seconds, even just for a check.

    The kernel frees the lock when its holder dies.
    """
    with data_dir.lock_file.open("ab") as file:
        end = time.monotonic() + wait
        while not (held := _try_lock(file, fcntl.LOCK_EX)) and time.monotonic() < end:
            time.sleep(0.02)
        yield held


def _try_lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def starting(data_dir: DataDir, patience: float) -> Iterator[None]:
    """Allow one start at a time on a data folder; others wait. Raises ProfileError.

    A folder created for a start that fails is removed again.
    """
    made = not data_dir.folder.exists()
    with _start_lock(data_dir, time.monotonic() + patience):
        try:
            yield
        except BaseException:
            if made and not data_dir.settings_file.exists():
                with contextlib.suppress(OSError):
                    data_dir.start_lock_file.unlink()
                    data_dir.folder.rmdir()
            raise


def _start_lock(data_dir: DataDir, end: float) -> BinaryIO:
    """Return the open lock file, held until it is closed. Raises ProfileError."""
    while True:
        data_dir.create()
        try:
            file = data_dir.start_lock_file.open("ab")
        except FileNotFoundError:
            continue  # the folder was removed after a failed start
        except OSError as error:
            raise ProfileError(f"data folder {data_dir.folder} cannot be used: {error.strerror}") from error
        while not (held := _try_lock(file, fcntl.LOCK_EX)) and time.monotonic() < end:
            time.sleep(0.05)
        if held and _is_current(file, data_dir.start_lock_file):
            return file
        file.close()
        if not held:
            raise ProfileError(f"another start on {data_dir.folder} has not ended: try again later")


def _is_current(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the one that its path names."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_running(data_dir: DataDir) -> bool:
    """Return whether a supervisor holds the lock of this data folder."""
    if not data_dir.lock_file.exists():
        return False
    with data_dir.lock_file.open("rb") as file:
        return not _try_lock(file, fcntl.LOCK_SH)
