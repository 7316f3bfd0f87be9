# SPDX-License-Identifier: GPL-3.0-or-later
"""What concerns several hosts or several variables: groups, names, addresses, networks, certificates."""

from __future__ import annotations

import ipaddress
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import daemons, kinds


def problems(groups: Mapping[str, Sequence[str]], hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences about the inventory. Each host has what is known of `address`, `hostname`, `node_name`."""
    found = list(_groups(groups))
    found += list(_names(hosts))
    found += list(_twice(hosts, "address", "the address"))
    found += list(_twice(hosts, "node_name", "the node name"))
    return found


def _groups(groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    front, workers = list(groups.get("front_end", [])), list(groups.get("workers", []))
    if len(front) != 1:
        named = ", ".join(front) or "none"
        yield f"The inventory group front_end has {len(front)} hosts ({named}); it must have exactly one."
    for host in front:
        if host in workers:
            yield f"{host} is in both groups front_end and workers; it must be in one of them."


def _names(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for host, facts in hosts.items():
        name = facts.get("node_name") or host
        if not kinds.is_host_name(str(name)):
            yield f"The node name of {host} is {str(name)!r}; it must be {kinds.HOST_NAME}."


def _twice(hosts: Mapping[str, Mapping[str, Any]], fact: str, meaning: str) -> Iterator[str]:
    owners = defaultdict(list)
    for host, facts in hosts.items():
        if facts.get(fact):
            owners[str(facts[fact]).lower()].append(host)
    for value, several in owners.items():
        if len(several) > 1:
            yield f"{', '.join(several)} have {meaning} {value}; each host must have its own."


def relations(
    variables: Mapping[str, Any], specs: Mapping[str, Mapping[str, Any]], host_network: str, roles: Sequence[str] = ()
) -> list[str]:
    """Sentences about variables that do not fit each other. Where one is not set, the default of its role counts."""

    def value(name: str) -> Any:
        role = name.partition("_")[0]
        return variables.get(name, specs.get(role, {}).get(name, {}).get("default"))

    found = [*_overlaps(value, host_network), *_certificates(value), *_manifest(value)]
    return found + daemons.problems(value, roles)


def _overlaps(value: Callable[[str], Any], host_network: str) -> Iterator[str]:
    networks = [(name, value(name)) for name in ("kubernetes_pod_subnet", "kubernetes_service_subnet")]
    networks.append(("the network of the host", host_network))
    known = [(name, text, kinds.network(text)) for name, text in networks]
    for (one, text, first), (other, text2, second) in itertools.combinations(known, 2):
        if first and second and first.version == second.version and first.overlaps(second):
            yield f"{one} is {text} and {other} is {text2}; the two must not overlap."
    pods = known[0][2]
    if isinstance(pods, ipaddress.IPv4Network) and pods.prefixlen > 23:
        yield f"kubernetes_pod_subnet is {known[0][1]}; it must be /23 or larger, since each node takes a /24 of it."


def _certificates(value: Callable[[str], Any]) -> Iterator[str]:
    if value("ingress_tls") != "files":
        return
    for name in ("ingress_certificate", "ingress_certificate_key"):
        path = value(name)
        if not path:
            yield f"{name} is not set; with ingress_tls files it must name a PEM file."
        elif not value("ingress_certificate_remote") and not os.path.isfile(os.path.expanduser(str(path))):
            yield f"{name} is {str(path)!r}, which is no file on the controller; it must be a PEM file."


def _manifest(value: Callable[[str], Any]) -> Iterator[str]:
    manifest = value("kubernetes_cni_manifest") or {}
    if value("kubernetes_cni") == "manifest" and not (manifest.get("url") and manifest.get("checksum")):
        yield "kubernetes_cni is manifest; kubernetes_cni_manifest must have url and checksum."
    path = value("kubernetes_existing_kubeconfig")
    if path and not os.path.isfile(os.path.expanduser(str(path))):
        yield f"kubernetes_existing_kubeconfig is {str(path)!r}, which is no file on the controller."
