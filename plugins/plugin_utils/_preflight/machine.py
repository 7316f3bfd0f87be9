# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as it is against what its part of the site needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

GIB = 1024**3

# Distribution, versions, and the group that it may be in (None: any).
SYSTEMS: tuple[tuple[str, tuple[str, ...], Any], ...] = (
    ("Debian", ("12", "13"), None),
    ("Ubuntu", ("24.04",), None),
    ("Ubuntu", ("22.04",), "workers"),
    ("AlmaLinux", ("9",), None),
    ("Rocky", ("9",), None),
)
ARCHITECTURES = ("x86_64", "aarch64")
OLDEST_PYTHON = (3, 9)
_OLDEST = ".".join(map(str, OLDEST_PYTHON))


def problems(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> list[str]:
    """Sentences about one host. A fact that is not known is not judged. `needs`: the limits, and the host's `group`."""
    return [sentence for check in CHECKS for sentence in check(machine, needs)]


def _system(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[str]:
    name, version = machine.get("distribution"), str(machine.get("version", ""))
    if name is not None and not any(_fits(system, name, version, needs["group"]) for system in SYSTEMS):
        known = (
            f"{system} {' or '.join(versions)}" + f" (only {only})" * bool(only) for system, versions, only in SYSTEMS
        )
        yield f"The system is {name} {version}; it must be one of {', '.join(known)}."
    architecture = machine.get("architecture")
    if architecture is not None and architecture not in ARCHITECTURES:
        yield f"The architecture is {architecture}; it must be {' or '.join(ARCHITECTURES)}."


def _fits(system: tuple[str, tuple[str, ...], Any], name: str, version: str, group: str) -> bool:
    known, versions, only = system
    return known == name and (version in versions or version.split(".")[0] in versions) and only in (None, group)


def _python(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[str]:
    version = str(machine.get("python") or "")
    if version and tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PYTHON:
        yield f"Ansible's Python is {version}; it must be {_OLDEST} or newer (ansible_python_interpreter)."


def _capacity(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[str]:
    cpus, memory = machine.get("cpus"), machine.get("memory_mb")
    if cpus is not None and cpus < needs["cpus"]:
        yield f"The host has {cpus} CPUs; it must have at least {needs['cpus']}."
    if memory is not None and memory < needs["memory_mb"]:
        yield f"The host has {memory} MiB of memory; it must have at least {needs['memory_mb']}."
    total, free = machine.get("disk_total"), machine.get("disk_free")
    if total is not None and total < needs["disk_gib"] * GIB:
        yield f"The file system of /var/lib has {total / GIB:.1f} GiB; it must have at least {needs['disk_gib']}."
    if free is not None and free < needs["disk_free_gib"] * GIB:
        yield f"The file system of /var/lib has {free / GIB:.1f} GiB free; it needs {needs['disk_free_gib']}."


def _clock(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[str]:
    offset = machine.get("clock_offset")
    if offset is not None and abs(offset) > needs["clock_offset"]:
        yield (
            f"The clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the controller's; "
            f"it must be within {needs['clock_offset']} s, so keep both right by NTP."
        )


def _kubernetes(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[str]:
    if needs["swap"] == "forbid" and (machine.get("swap_mb") or 0) > 0:
        yield f"The host has {machine['swap_mb']} MiB of swap; turn it off, or set kubernetes_swap to disable or allow."
    if machine.get("cgroup2") is False and not needs["cgroup1"]:
        yield "The host has control groups of version 1; it must have version 2, as current systems have by default."
    mtu, wanted = machine.get("mtu"), needs["mtu"]
    if mtu is not None and wanted and wanted > mtu - 50:
        yield f"kubernetes_mtu is {wanted}; it must be at most {mtu - 50}, the interface's {mtu} less 50 for VXLAN."
    if mtu is not None and mtu < 1330:
        yield f"The interface of the default route has MTU {mtu}; it must have at least 1330."


def _access(machine: Mapping[str, Any], needs: Mapping[str, Any]) -> Iterator[str]:
    if machine.get("uid") not in (None, 0):
        yield f"Tasks run as user id {machine['uid']}; they must run as root (become: true)."
    for service, stop in (
        ("firewalld", "systemctl disable --now firewalld"),
        ("ufw", "ufw disable"),
    ):
        if needs["firewall"] and machine.get(service):
            yield f"{service} is active; it must be off ({stop}), since the role firewall does its work."


CHECKS: tuple[Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[str]], ...] = (
    _system,
    _python,
    _capacity,
    _clock,
    _kubernetes,
    _access,
)
