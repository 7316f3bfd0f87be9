# SPDX-License-Identifier: Apache-2.0
"""A generated configuration that its user edits: what was edited stays. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ABSENT = object()


def merge(generated: Mapping[str, Any], edited: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Return the edited configuration with what the program generates differently now.

    generated: what was generated before the edit. fresh: what is generated now. A value that the user changed,
    added or removed stays as the user left it.
    """
    names = [*edited, *(name for name in fresh if name not in edited)]
    found = {}
    for name in names:
        value = _value(*(each.get(name, _ABSENT) for each in (generated, edited, fresh)))
        if value is not _ABSENT:
            found[name] = value
    return found


def _value(generated: Any, edited: Any, fresh: Any) -> Any:
    if all(isinstance(each, Mapping) for each in (generated, edited, fresh)):
        return merge(generated, edited, fresh)
    return fresh if edited == generated else edited
