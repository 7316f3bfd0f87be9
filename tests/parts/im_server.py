# SPDX-License-Identifier: Apache-2.0
"""Starts IM with settings of its own, and with a Dummy cloud that takes time, fills up and keeps a list of its VMs.

Runs in IM's environment: ``python im_server.py FOLDER PORT``. ``FOLDER/cloud.json`` says how the cloud behaves and is
read anew each time; each VM that the cloud has is a file in ``FOLDER/vms``, and each that it was asked for is a line in
``FOLDER/launched``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from IM.config import Config

FOLDER, PORT = Path(sys.argv[1]), int(sys.argv[2])

Config.REST_ADDRESS = "127.0.0.1"
Config.REST_PORT = PORT
Config.DATA_DB = f"sqlite://{FOLDER}/inf.dat"
Config.LOG_FILE = f"{FOLDER}/im.log"
Config.LOG_LEVEL = "DEBUG"
Config.VM_INFO_UPDATE_FREQUENCY = 0
Config.DELAY_BETWEEN_VM_RETRIES = 0
Config.MAX_VM_FAILS = 1
Config.CONFMAMAGER_CHECK_STATE_INTERVAL = 1
contextualization = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages", "contextualization")
Config.CONTEXTUALIZATION_DIR = str(contextualization)
Config.RECIPES_DIR = str(contextualization / "AnsibleRecipes")

from IM.connectors.Dummy import DummyCloudConnector  # noqa: E402
from IM.VirtualMachine import VirtualMachine  # noqa: E402


def behaviour() -> dict[str, Any]:
    return json.loads((FOLDER / "cloud.json").read_text())


def record(vm: VirtualMachine) -> Path:
    return FOLDER / "vms" / f"{vm.id}.json"


class Full(Exception):
    """What a cloud says when there is no room."""


def launch_one(connector: DummyCloudConnector, inf: Any, radl: Any, requested_radl: Any) -> VirtualMachine:
    settings = behaviour()
    time.sleep(settings["delay"])
    with (FOLDER / "launched").open("a") as file:
        file.write("1\n")
    if len(list((FOLDER / "vms").glob("*.json"))) >= settings["capacity"]:
        raise Full("Quota exceeded for instances: there is no capacity for another VM")
    vm = VirtualMachine(
        inf, str(uuid.uuid4()), connector.cloud, radl, requested_radl, connector.cloud.getCloudConnector(inf)
    )
    inf.add_vm(vm)
    system = vm.info.systems[0]
    user_data = connector.get_cloud_init_data(radl, vm, "ssh-rsa AAAA im", "cloudadm") or ""
    system.setValue("provider.type", connector.type)
    system.setValue("disk.0.os.credentials.username", "username")
    system.setValue("disk.0.os.credentials.password", "password")
    name = system.getValue("net_interface.0.dns_name") or system.name
    record(vm).write_text(json.dumps({"name": name, "user_data": user_data, "created": time.time()}))
    return vm


def launch(self: DummyCloudConnector, inf: Any, radl: Any, requested_radl: Any, num_vm: int, _auth: Any) -> list[Any]:
    made: list[Any] = []
    for _ in range(num_vm):
        try:
            made.append((True, launch_one(self, inf, radl, requested_radl)))
        except Full as error:
            made.append((False, str(error)))
    return made


def update(_self: DummyCloudConnector, vm: VirtualMachine, _auth: Any) -> tuple[bool, VirtualMachine]:
    if not record(vm).exists():
        vm.state = VirtualMachine.OFF
        return True, vm
    created = json.loads(record(vm).read_text())["created"]
    if vm.state == VirtualMachine.PENDING and time.time() - created >= behaviour()["boot"]:
        vm.state = VirtualMachine.RUNNING
        number = vm.im_id + 1
        vm.info.systems[0].setValue("net_interface.0.ip", f"10.77.{number // 250}.{number % 250 + 1}")
    return True, vm


def finalize(_self: DummyCloudConnector, vm: VirtualMachine, _last: bool, _auth: Any) -> tuple[bool, str]:
    if vm.id:
        record(vm).unlink(missing_ok=True)
    return True, ""


DummyCloudConnector.launch = launch
DummyCloudConnector.updateVMInfo = update
DummyCloudConnector.finalize = finalize

from IM import im_service  # noqa: E402

if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.argv = ["im_service"]
    im_service.main()
