# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: a plan of the server as what Ansible shows with ``--diff``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def diff_of(plan: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The diff of a plan: one part for each service that changes, with the leaves that change and no others."""
    return [
        {
            "before_header": f"service {item['name']}",
            "after_header": f"service {item['name']}",
            "before": _leaves(item["changes"], "before"),
            "after": _leaves(item["changes"], "after"),
        }
        for item in plan
        if item["changes"]
    ]


def _leaves(changes: Iterable[Mapping[str, Any]], side: str) -> str:
    return "".join(_leaf(change["path"], change[side]) for change in changes if change[side] is not None)


def _leaf(place: str, value: Any) -> str:
    """One leaf as YAML would show it. Text of several lines (a script) is a block, so that its lines are compared."""
    if not isinstance(value, str):
        return f"{place}: {json.dumps(value, sort_keys=True)}\n"
    if "\n" in value:
        return f"{place}: |\n" + "".join(f"  {line}\n" for line in value.splitlines())
    return f"{place}: {value if value and value == value.strip() else json.dumps(value)}\n"
