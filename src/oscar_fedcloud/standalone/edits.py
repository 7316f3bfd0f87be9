# SPDX-License-Identifier: Apache-2.0
"""Merges the user's edits into a newly generated configuration. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ABSENT = object()


def merge(generated: Mapping[str, Any], edited: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Return the edited configuration with the changes of the generated one.

    A value that the user changed, added or removed is kept.

    Args:
        generated: what was generated before the edit.
        fresh: what is generated now.
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
