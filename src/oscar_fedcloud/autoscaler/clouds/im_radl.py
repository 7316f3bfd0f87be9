# SPDX-License-Identifier: Apache-2.0
"""Write requests and read VMs in RADL, the language of the Infrastructure Manager, in its JSON form.

Each machine has its own ``system`` and ``configure``, because each has its own user data, which IM passes by
``contextualize (system … configure … with cloud_init)``. IM keeps all systems that an infrastructure ever had, so their
names are reused: ``<pool>_<index in the batch>``, redefined each time. A VM keeps the definition it was created with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, MachineRequest, MachineState

_CLUSTER, _POOL = "oscar_cluster", "oscar_pool"  # tags of our VMs
_MIB = 1024 * 1024

STATES: Mapping[str, MachineState] = {
    "pending": "creating",
    "running": "running",
    "configured": "running",
    "unconfigured": "running",  # IM does not configure these machines
    "stopped": "stopped",
    "off": "failed",  # the cloud no longer has it
    "failed": "failed",
    "unknown": "running",  # IM gets no answer from the cloud; the machine is not necessarily lost
    "deleting": "deleting",
}


class ImTemplate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Machines of one kind, in terms of RADL (https://imdocs.readthedocs.io, "RADL")."""

    image: str  # disk.0.image.url, such as ost://keystone.example.org/UUID or egi://SITE/IMAGE?VO
    networks: tuple[str, ...] = ("private",)  # networks of the infrastructure, the node's own first
    cloud: str = ""  # id of a line of the auth file; if empty, IM chooses
    cpu: int = 1
    memory: int = 1024  # MiB
    instance_type: str = ""  # flavor; cpu and memory are then only for the quota
    username: str = "cloudadm"  # IM creates this user on the VM
    features: dict[str, str | int | float] = {}  # further features of a RADL system, e.g. {"gpu.count_min": 1}


@dataclass(frozen=True, slots=True)
class VM:
    """A VM as IM describes it. ``cluster`` is empty if no autoscaler created it."""

    id: str
    name: str
    cluster: str
    pool: str
    address: str


def request(template: ImTemplate, cluster: str, machines: Sequence[MachineRequest]) -> list[dict[str, Any]]:
    """Return the RADL that adds machines of one pool."""
    networks = [{"class": "network", "id": name, "reference": True} for name in template.networks]
    systems, configures, items, deploys = [], [], [], []
    for place, machine in enumerate(machines):
        system_id = f"{machine.pool}_{place}"
        systems.append({"class": "system", "id": system_id, **_features(template, cluster, machine)})
        configures.append({"class": "configure", "id": system_id, "recipes": _recipe(machine)})
        items.append({"system": system_id, "configure": system_id, "ctxt_tool": "cloud_init"})
        deploys.append({"class": "deploy", "system": system_id, "vm_number": 1, **_where(template)})
    return [*networks, *systems, *configures, {"class": "contextualize", "items": items}, *deploys]


def read_vm(vm_id: str, entries: Sequence[Mapping[str, Any]]) -> VM:
    """Return a VM from the RADL in the answer to ``GET …/vms/ID``."""
    system: Mapping[str, Any] = next((entry for entry in entries if entry.get("class") == "system"), {})
    tags = dict(part.strip().partition("=")[::2] for part in str(system.get("instance_tags", "")).split(","))
    return VM(
        id=vm_id,
        name=str(system.get("net_interface.0.dns_name", "")),
        cluster=tags.get(_CLUSTER, ""),
        pool=tags.get(_POOL, ""),
        address=str(system.get("net_interface.0.ip", "")),
    )


def _features(template: ImTemplate, cluster: str, machine: MachineRequest) -> dict[str, Any]:
    features: dict[str, Any] = {
        "cpu.arch": "x86_64",
        "disk.0.os.name": "linux",
        "disk.0.image.url": template.image,
        "disk.0.os.credentials.username": template.username,
        "instance_name": machine.name,
        "instance_tags": f"{_CLUSTER}={cluster},{_POOL}={machine.pool}",
        "net_interface.0.dns_name": machine.name,
    }
    for number, network in enumerate(template.networks):
        features[f"net_interface.{number}.connection"] = network
    if template.instance_type:
        features["instance_type"] = template.instance_type
    else:
        features |= {"cpu.count_min": template.cpu, "memory.size_min": template.memory * _MIB}
    return features | template.features


def _where(template: ImTemplate) -> dict[str, str]:
    return {"cloud": template.cloud} if template.cloud else {}


def _recipe(machine: MachineRequest) -> str:
    """Return user data in the form that IM accepts: a mapping, to which it adds its own user.

    It is written as JSON, which is YAML on a single line: IM also stores it between the lines @begin and @end, which
    must not occur in it.
    """
    try:
        document = yaml.safe_load(machine.user_data)
        if not isinstance(document, dict):
            raise CloudError(f"{machine.name}: the user data is not a #cloud-config document, which IM needs")
        return json.dumps(document)
    except (yaml.YAMLError, TypeError) as error:
        raise CloudError(f"{machine.name}: the user data cannot be passed to IM as cloud-config") from error
