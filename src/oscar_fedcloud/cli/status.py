# SPDX-License-Identifier: Apache-2.0
"""What is known of a standalone server from outside: whether it runs, whether it is ready, and where its parts are."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from oscar_fedcloud.cli.profile import ADMIN, Profile, read_json
from oscar_fedcloud.cli.store import LOOPBACK


def describe(profile: Profile) -> dict[str, Any]:
    """All that a user needs to know of a server, as plain data."""
    settings = profile.settings()
    if settings is None:
        return {"state": "stopped", "ready": False, "data": str(profile.folder)}
    running = is_running(profile)
    state = (read_json(profile.state_file) or {}) if running else {}
    health = _readyz(settings.port) if running else {}
    return {
        "state": "running" if running else "stopped",
        "ready": health.pop("ready", False),
        "endpoint": f"http://{LOOPBACK}:{settings.port}",
        "user": ADMIN,
        "password_file": str(profile.password_file),
        "store_endpoint": f"http://{LOOPBACK}:{settings.store_port}",
        "store_access_key_file": str(profile.access_key_file),
        "store_secret_key_file": str(profile.secret_key_file),
        "store_folder": str(profile.store_folder),
        "data": str(profile.folder),
        "logs": str(profile.log_file("invoker").parent),
        "container": settings.container,
        "pids": {"supervisor": state.get("pid", 0)} | {n: p["pid"] for n, p in state.get("parts", {}).items()},
        "restarts": {n: p["restarts"] for n, p in state.get("parts", {}).items()},
        "health": health,
    }


def _readyz(port: int) -> dict[str, Any]:
    """The server's answer about its parts, with ``ready`` added."""
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
    """Print what ``describe`` gave, as JSON or as a table."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if name == "started":
            continue
        text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):22} {text}")


@contextlib.contextmanager
def locked(profile: Profile, wait: float = 0.0) -> Iterator[bool]:
    """Hold the data folder's lock; False if another process keeps it for ``wait`` seconds (a mere look takes it too).

    The kernel frees the lock when its holder dies, however it dies.
    """
    with profile.lock_file.open("ab") as file:
        end = time.monotonic() + wait
        while not (held := _try_lock(file)) and time.monotonic() < end:
            time.sleep(0.02)
        yield held


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_running(profile: Profile) -> bool:
    """Whether a supervisor holds the lock of this data folder."""
    if not profile.lock_file.exists():
        return False
    with locked(profile) as free:
        return not free
