# SPDX-License-Identifier: BSD-2-Clause
"""Gives each scalar of a source the type of its field, so that text is text whatever it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .table import Kind, Spec
from .written import Written

_WORDS = {None: "null", True: "true", False: "false"}


def resolve(kind: Kind | None, data: Any) -> Any:
    """Return plain data of this kind, with the text as written wherever the language expects text.

    Members of unknown fields, and those of other types, have the value that YAML 1.2's core schema gives them. The
    words true, false and null may have been read already, since JSON has but one spelling of each.
    """
    if isinstance(data, Mapping):
        return {name: _member(kind.member(name) if kind else None, value) for name, value in data.items()}
    if isinstance(data, list):
        return [_member(kind.member(index) if kind else None, value) for index, value in enumerate(data)]
    if isinstance(data, Written):
        return str(data) if kind is not None and kind.text else data.value()
    if kind is not None and kind.text and (data is None or isinstance(data, bool)):
        return _WORDS[data]
    return data


def _member(spec: Spec | None, value: Any) -> Any:
    """A named field that is null is empty; in lists and mappings of text, ``null`` and ``~`` are text."""
    empty = value is None or (isinstance(value, Written) and value.value() is None)
    if empty and spec is not None and spec.name:
        return None
    return resolve(spec.kind if spec is not None else None, value)
