# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PRIVATE to the collection: the file that says which ports each site lets through, as in docs/ports.schema.json.

It holds what is true of a *site*, so nothing about a machine's own firewall or who listens. The date of an entry is the
day on which this result was found first; a survey that finds the same again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ...module_utils._ports.ports import Port, PortError, parse_ports

VERSION = 1

_Key = tuple[str, Port]  # from where, and which port


def of_survey(
    rows: Iterable[Mapping[str, Any]],
    site: str,
    date: str,
    known: Optional[Mapping[str, Any]] = None,
    controller: str = "outside",
) -> dict[str, Any]:
    """The facts of one survey. ``known``: earlier facts, whose dates are kept where the result is the same.

    ``controller``: where the controller is, ``outside`` or ``inside``. A port is blocked if it was for any pair
    of machines. What is unknown is left out. Raises PortError.
    """
    found: dict[_Key, str] = {}
    for row in rows:
        if row["site"] == "unknown":
            continue
        key = (controller if row["from"] == "controller" else "inside", parse_ports([row["port"]])[0])
        found[key] = "blocked" if "blocked" in (row["site"], found.get(key)) else "open"
    before = _sites(known).get(site, {})
    entries = []
    for key, state in sorted(found.items()):
        same = key in before and before[key]["state"] == state
        entries.append(before[key] if same else _entry(key, state, date))
    return {"version": VERSION, "sites": {site: {"ports": entries}}}


def merge(one: Optional[Mapping[str, Any]], other: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Both, with every site and port that is in either. Raises PortError.

    Of two results for a port the later one counts, and of the same day the blocked one. So the order of merges does not
    matter.
    """
    sites: dict[str, dict[_Key, dict[str, Any]]] = {}
    for facts in (one, other):
        for name, entries in _sites(facts).items():
            known = sites.setdefault(name, {})
            for key, entry in entries.items():
                known[key] = max(
                    known.get(key, entry), entry, key=lambda each: (each["date"], each["state"] == "blocked")
                )
    return {
        "version": VERSION,
        "sites": {name: {"ports": [known[key] for key in sorted(known)]} for name, known in sorted(sites.items())},
    }


def _sites(facts: Optional[Mapping[str, Any]]) -> dict[str, dict[_Key, dict[str, Any]]]:
    """The entries of each site by what they are about. Raises PortError for facts of another form."""
    if not facts:
        return {}
    if facts.get("version") != VERSION:
        raise PortError(
            f"the facts about ports have version {facts.get('version')!r}; this collection knows version {VERSION}"
        )
    try:
        return {name: dict(map(_by_key, site["ports"])) for name, site in facts["sites"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise PortError(f"the facts about ports are not as docs/ports.schema.json says: {error!r}") from error


def _by_key(entry: Mapping[str, Any]) -> tuple[_Key, dict[str, Any]]:
    # YAML makes a date of 2026-11-24; as text it sorts as it should, too.
    key = (entry["from"], Port(entry["port"], entry["protocol"]))
    return key, _entry(key, entry["state"], str(entry["date"]))


def _entry(key: _Key, state: str, date: str) -> dict[str, Any]:
    place, port = key
    return {"port": port.number, "protocol": port.protocol, "from": place, "state": state, "date": date}
