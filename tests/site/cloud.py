# SPDX-License-Identifier: Apache-2.0
"""A cloud of virtual machines on this computer, behind the three programs of the autoscaler's cloud ``command``.

The front end reaches them by ssh: a server of its own on the bridge, whose one key may only run these. A machine of the
cloud takes the place of a spare one, under a name of its own, and finds its user data as cloud-init's NoCloud has it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import guests
import keys
import processes
from run import run, wait_until, write
from settings import CONTROLLER, HERE, HOSTS, SITE, Host

FOLDER = SITE / "cloud"
KEY, HOST_KEY = FOLDER / "id_ed25519", FOLDER / "host_ed25519"
PORT = 2222
SERVER = "cloud-sshd"
LOST = FOLDER / "lost"  # while it holds a number, so many machines never get their user data
NO_ROOM = 75  # the exit status that says so

_BOOK = FOLDER / "machines.json"  # name -> where it is, and what it was made for
_CONFIG = f"""\
Port {PORT}
ListenAddress {CONTROLLER}
HostKey {HOST_KEY}
AuthorizedKeysFile {FOLDER}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


def up() -> None:
    """Let the front end in."""
    for key in (KEY, HOST_KEY):
        if not key.exists():
            key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cloud of the test site", "-f", key)
    forced = f'restrict,command="{sys.executable} {HERE} cloud $SSH_ORIGINAL_COMMAND"'
    write(FOLDER / "authorized_keys", f"{forced} {keys.public(KEY)}", mode=0o600)
    write(FOLDER / "sshd_config", _CONFIG)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where the server gives up its rights
    if processes.pid(SERVER) is None:
        processes.start(SERVER, ["/usr/sbin/sshd", "-D", "-e", "-f", FOLDER / "sshd_config"])


def down() -> None:
    """Shut the front end out, and forget all machines."""
    processes.stop(SERVER)
    shutil.rmtree(FOLDER, ignore_errors=True)


def save(host: Host, name: str) -> None:
    """Make an image of a machine that is off, which the template of a pool may name."""
    guests.save(host, FOLDER / "images" / name)


def serve(command: str) -> int:
    """One of the programs: a document on standard input, one on standard output; its exit status."""
    with contextlib.redirect_stdout(sys.stderr):  # what is said meanwhile is no part of the document
        answer, status = PROGRAMS[command](json.load(sys.stdin))
    json.dump(answer, sys.stdout)
    return status


def machines() -> dict[str, dict[str, Any]]:
    """What there is, by name."""
    return json.loads(_BOOK.read_text()) if _BOOK.exists() else {}


def _add(request: dict[str, Any]) -> tuple[dict[str, Any], int]:
    book, refused = machines(), {}
    wanted = [machine for machine in request["machines"] if machine["name"] not in book]
    for machine in wanted:
        taken = {entry["host"] for entry in book.values()}
        free = [host for host in HOSTS if host.spare and host.name not in taken]
        if not free:
            refused[machine["name"]] = "all machines of this computer are in use"
            continue
        book[machine["name"]] = {"host": free[0].name, "pool": machine["pool"], "created": time.time()}
        write(_BOOK, json.dumps(book))
        guests.remove(free[0])
        image = machine["template"].get("image")
        guests.start(free[0], _seed(machine), FOLDER / "images" / image if image else None)
    if wanted and len(refused) == len(wanted):
        print("all machines of this computer are in use", file=sys.stderr)
        return {}, NO_ROOM
    return {"refused": refused}, 0


def _seed(machine: dict[str, Any]) -> dict[str, str]:
    """The files that NoCloud reads; none for a machine that is to be lost."""
    lost = int(LOST.read_text()) if LOST.exists() else 0
    if lost:
        write(LOST, str(lost - 1))
        return {}
    return {
        "meta-data": json.dumps({"instance-id": machine["name"], "local-hostname": machine["name"]}),
        "user-data": machine["user_data"],
    }


def _list(_request: dict[str, Any]) -> tuple[dict[str, Any], int]:
    states = {"running": "running", "starting": "creating", "off": "stopped", "absent": "failed"}
    listed = [
        {
            "id": name,
            "name": name,
            "pool": entry["pool"],
            "state": states[guests.state(_host(entry))],
            "address": _host(entry).address,
            "created": entry["created"],
        }
        for name, entry in machines().items()
    ]
    return {"machines": listed}, 0


def _remove(request: dict[str, Any]) -> tuple[dict[str, Any], int]:
    book = machines()
    for name in set(request["ids"]) & set(book):
        host = _host(book.pop(name))
        guests.remove(host)
        wait_until(f"{host.name} is gone", lambda host=host: guests.state(host) == "absent")
        write(_BOOK, json.dumps(book))
    return {}, 0


def _host(entry: dict[str, Any]) -> Host:
    return next(host for host in HOSTS if host.name == entry["host"])


PROGRAMS = {"add": _add, "list": _list, "remove": _remove}
