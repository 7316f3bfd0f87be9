# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PRIVATE to the collection: what a survey of ports means, from what listeners and probes saw. Pure functions.

``listeners``: what ``port_probe`` returned with ``state=stopped``, by the name of the machine.
``probes``: what it returned with ``state=probed``, by the place where it was called; its ``hosts`` are names of
machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Optional

from ...module_utils._ports.holder import NOBODY
from ...module_utils._ports.ports import parse_ports

OUTSIDE = "something outside the machine: the cloud's security group or the site's firewall"
WAY_BACK = "something outside the machine, which lets the probe in but not the answer out"
INTERCEPTED = "something outside the machine, which answers in its place or lets only some protocols through"
OWN_FIREWALL = "the machine's own firewall"
NO_LISTENER = "nothing listens on it that this place could reach"
NO_ROUTE = "the place that probes: it has no way there, or its own firewall forbids it"
UNKNOWN = "unknown"
_ERRORS_OF_THE_PROBE = ("network is unreachable", "operation not permitted")


def explain(listeners: Mapping[str, Any], probes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each place, machine and port.

    ``state``: ``open``, ``refused`` or ``filtered``, as the place sees it. ``cause``: why it is not open. ``site``:
    ``open`` if what is outside the machine lets the port through, ``blocked``, or ``unknown``. ``held_by``: whose
    listener it is, if not ours. ``itself``: the place is the machine.
    """
    tries = [
        (place, host, port, attempt)
        for place, probe in probes.items()
        for host, ports in probe["hosts"].items()
        for port, attempt in ports.items()
    ]
    return [
        _row(place, host, port, attempt, listeners.get(host, {}), _others(tries, place, host, port))
        for place, host, port, attempt in tries
    ]


def _others(tries: Iterable[Any], place: str, host: str, port: str) -> set[int]:
    """The source ports of the other places' probes of the same port."""
    theirs, ours = set(), set()
    for where, *what, attempt in tries:
        if what == [host, port]:
            (ours if where == place else theirs).add(attempt["source_port"])
    return theirs - ours


def _row(
    place: str, host: str, port: str, attempt: Mapping[str, Any], report: Mapping[str, Any], others: set[int]
) -> dict[str, Any]:
    holder = report.get("ports", {}).get(port, {"listener": "none", **NOBODY})
    packets = [one for one in report.get("packets", ()) if one["port"] == port and one["peer_port"] not in others]
    arrived = _arrived(attempt, packets, bool(report.get("capture")))
    answered = any(one["outgoing"] and one["peer_port"] == attempt["source_port"] for one in packets)
    itself = any(one["source"] == one["destination"] for one in packets if one["peer_port"] == attempt["source_port"])
    listens = holder["listener"] == "ours" or (holder["listener"] == "other" and not holder["local_only"])
    state, cause = _judge(port, attempt, listens, holder["listener"] == "ours", arrived, answered)
    site = "unknown" if itself else _through(state, cause, arrived)
    held_by = holder["unit"].replace(".service", "") or holder["process"] or "another process"
    return {
        "from": place,
        "host": host,
        "port": port,
        "state": state,
        "cause": cause,
        "site": site,
        "held_by": held_by if holder["listener"] == "other" else "",
        "itself": itself,
    }


def _arrived(attempt: Mapping[str, Any], packets: Iterable[Mapping[str, Any]], capture: bool) -> Optional[bool]:
    """Whether the probe came to the machine; None if that cannot be told."""
    if attempt["answer"] == "ours":
        return True
    incoming = [one for one in packets if not one["outgoing"]]
    if any(one["peer_port"] == attempt["source_port"] for one in incoming):
        return True
    # Somebody else's connection, or ours with a source port that an address translation has changed.
    return None if incoming or not capture else False


def _judge(
    port: str, attempt: Mapping[str, Any], listens: bool, ours: bool, arrived: Optional[bool], answered: bool
) -> tuple[str, str]:
    """State and cause."""
    state = attempt["state"]
    if attempt["answer"] == "ours":
        return "open", ""
    if attempt["error"] in _ERRORS_OF_THE_PROBE:
        return state, NO_ROUTE
    if port.endswith("/udp") and listens and not ours and arrived and state == "filtered":
        return "open", ""  # its protocol does not answer to us, but the way is free
    if state == "open":
        if ours or arrived is False:
            return "filtered", INTERCEPTED
        return "open", ""
    if arrived is False:
        return state, OUTSIDE
    if arrived is None:
        return state, UNKNOWN
    if answered:
        return state, WAY_BACK
    return state, OWN_FIREWALL if listens else NO_LISTENER


def _through(state: str, cause: str, arrived: Optional[bool]) -> str:
    """Whether what is outside the machine lets the port through."""
    if state == "open":
        return "open"
    if cause in (OUTSIDE, WAY_BACK, INTERCEPTED):
        return "blocked"
    return "open" if arrived else "unknown"


def choose(rows: Iterable[Mapping[str, Any]], candidates: Iterable[object], own: Iterable[str]) -> dict[str, Any]:
    """The public port: one that is open and held by our own ingress (one of ``own``), else the first open and free one.

    ``port`` is 0 if there is none; ``why`` says for each candidate what is wrong with it.
    """
    known = {row["port"]: row for row in rows}
    mine = set(own)
    ports = [str(port) for port in parse_ports(candidates)]
    wrong = {port: _unfit(known.get(port), mine) for port in ports}
    fit = [port for port in ports if not wrong[port]]
    in_use = [port for port in fit if known[port]["held_by"]]
    best = (in_use or fit or ["0"])[0]
    return {"port": int(best), "why": [f"{port}: {wrong[port]}" for port in ports if wrong[port]]}


def _unfit(row: Optional[Mapping[str, Any]], own: set[str]) -> str:
    if row is None:
        return "not probed"
    if row["state"] != "open":
        return f"{row['state']} by {row['cause']}" if row["cause"] != UNKNOWN else f"{row['state']}, cause unknown"
    return f"held by {row['held_by']}" if row["held_by"] and row["held_by"] not in own else ""


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The rows as lines of text; ports with the same result are on one line."""

    def same(row: Mapping[str, Any]) -> tuple[str, ...]:
        held = f"held by {row['held_by']}" if row["held_by"] else ""
        itself = "from the machine itself, so this says nothing about the site" if row["itself"] else ""
        why = "; ".join(filter(None, (row["cause"], held, itself)))
        return row["from"], row["host"], row["state"], why

    lines = [("FROM", "TO", "PORTS", "STATE", "WHY")]
    for (place, host, state, why), group in groupby(sorted(rows, key=same), same):
        lines.append((place, host, ranges(row["port"] for row in group), state, why))
    widths = [max(len(line[column]) for line in lines) for column in range(4)] + [0]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def ranges(ports: Iterable[object]) -> str:
    """Ports as people write them: ``22, 7000-7020, 8472/udp``."""
    ordered = sorted(set(parse_ports(ports)), key=lambda port: (port.protocol, port.number))
    texts: list[str] = []
    for _key, group in groupby(enumerate(ordered), lambda pair: (pair[1].protocol, pair[1].number - pair[0])):
        run = [port for _index, port in group]
        texts += [f"{run[0].number}-{run[-1]}"] if len(run) > 2 else map(str, run)
    return ", ".join(texts)
