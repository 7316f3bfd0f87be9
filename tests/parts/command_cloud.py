# SPDX-License-Identifier: Apache-2.0
"""The three executables of the cloud ``command``, over a folder: each machine is a file.

``python command_cloud.py FOLDER add|list|remove``. ``FOLDER/cloud.json`` says how it behaves.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

FOLDER, VERB = Path(sys.argv[1]), sys.argv[2]
BEHAVIOUR = json.loads((FOLDER / "cloud.json").read_text())


def machines() -> dict[Path, dict[str, Any]]:
    found = {}
    for file in sorted((FOLDER / "vms").glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # another call removes it
            found[file] = json.loads(file.read_text())
    return found


def keep(record: dict[str, Any]) -> None:
    """Whole or not at all, since others read meanwhile."""
    file = FOLDER / "vms" / f"{record['id']}.json"
    file.with_suffix(".new").write_text(json.dumps(record))
    file.with_suffix(".new").replace(file)


def add(request: dict[str, Any]) -> None:
    there = {(m["cluster"], m["name"]) for m in machines().values()}
    new = [m for m in request["machines"] if (request["cluster"], m["name"]) not in there]
    room = max(0, BEHAVIOUR["capacity"] - len(machines()))
    if new and not room:
        sys.exit(no_room())
    for machine in new[:room]:
        with (FOLDER / "launched").open("a") as file:
            file.write("1\n")
        record = {**machine, "cluster": request["cluster"], "created": time.time(), "id": str(uuid.uuid4())}
        keep(record)
    if BEHAVIOUR["lost"]:
        time.sleep(60)
    print(json.dumps({"refused": {machine["name"]: "no room" for machine in new[room:]}}))


def no_room() -> int:
    print("looking for room\nno room for another machine", file=sys.stderr)
    return 75


def listing(request: dict[str, Any]) -> None:
    found = []
    for number, record in enumerate(machines().values()):
        if record["cluster"] != request["cluster"]:
            continue
        up = time.time() - record["created"] >= BEHAVIOUR["boot"]
        view = {"id": record["id"], "name": record["name"], "pool": record["pool"], "created": record["created"]}
        address = {"state": "running", "address": f"10.77.2.{number + 1}"} if up else {"state": "creating"}
        found.append(view | address)
    print(json.dumps({"machines": found}))


def remove(request: dict[str, Any]) -> None:
    for each in request["ids"]:
        (FOLDER / "vms" / f"{each}.json").unlink(missing_ok=True)


if __name__ == "__main__":
    if BEHAVIOUR["away"]:
        print("the place does not answer", file=sys.stderr)
        sys.exit(69)
    {"add": add, "list": listing, "remove": remove}[VERB](json.load(sys.stdin))
