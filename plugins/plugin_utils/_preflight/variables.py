# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of one host against the roles' argument specifications, and against the kinds of :mod:`.kinds`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.common.validation import check_type_bool, check_type_float, check_type_int

from . import kinds

_SECRET = ("password", "passwords", "token", "tokens", "secret", "secrets", "secret_key", "access_key")
_NAMES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "dict": "a mapping",
    "str": "a text",
    "path": "a path",
}


def problems(variables: Mapping[str, Any], specs: Mapping[str, Mapping[str, Any]], roles: list[str]) -> list[str]:
    """Sentences about the variables of a host. `specs`: the options of each role; those of `roles` run on this host."""
    options = {name: option for spec in specs.values() for name, option in spec.items()}
    known = {name: value for name, value in variables.items() if name in options}
    found = [sentence for name, value in known.items() for sentence in _check(name, value, options[name])]
    found += list(_misspelt(variables, options))
    for role in roles:
        for name, option in specs.get(role, {}).items():
            if option.get("required") and name not in variables:
                found.append(f"{name} is not set: {_first_sentence(option)}")
    return found


def _check(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    """A value, then what it holds, down to the leaves."""
    kind = option.get("type", "str")
    if value is None or (value == "" and option.get("default", "") == "" and kind in ("str", "path")):
        return
    if not _is(kind, value):
        yield f"{name} is {_shown(name, value)}; it must be {_NAMES.get(kind, kind)}."
    elif kind != "list" and "choices" in option and value not in option["choices"]:
        yield f"{name} is {_shown(name, value)}; it must be one of {', '.join(map(str, option['choices']))}."
    elif kind == "list":
        element = {**option, "type": option.get("elements", "raw")}
        for index, item in enumerate(value):
            yield from _check(f"{name}[{index}]", item, element)
    elif kind == "dict":
        yield from _check_mapping(name, value, option.get("options"))
    elif kind != "bool":  # a switch may be named like a value, as minio_rotate_root_password is
        right = kinds.wrong(name, value)
        if right:
            yield f"{name} is {_shown(name, value)}; it must be {right}."


def _check_mapping(name: str, value: Mapping[str, Any], options: Any) -> Iterator[str]:
    if options is None:
        for key, item in value.items():
            option = {"type": "list"} if isinstance(item, (list, tuple)) else {"type": "raw"}
            yield from _check(f"{name}.{key}", item, option)
        return
    for key, item in value.items():
        if key in options:
            yield from _check(f"{name}.{key}", item, options[key])
        else:
            yield f"{name} has the unknown field {key}; it may have {', '.join(options)}."
    for key, option in options.items():
        if option.get("required") and key not in value:
            yield f"{name}.{key} is not set: {_first_sentence(option)}"


def _is(kind: str, value: Any) -> bool:
    if kind in ("list", "dict"):
        return isinstance(value, {"list": (list, tuple), "dict": Mapping}[kind])
    if kind in ("str", "path"):
        return not isinstance(value, (list, tuple, Mapping))
    check = {"bool": check_type_bool, "int": check_type_int, "float": check_type_float}.get(kind)
    try:
        if check is not None:
            check(value)
    except TypeError:
        return False
    return True


def _misspelt(variables: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    """Names that are no variable of a role, but nearly one."""
    for name in variables:
        close = difflib.get_close_matches(name, options, n=1, cutoff=0.9) if name not in options else []
        if close:
            yield f"{name} is not a variable of any role; {close[0]} is."


def _first_sentence(option: Mapping[str, Any]) -> str:
    text = option.get("description", "")
    text = text if isinstance(text, str) else text[0]
    return text.split(". ")[0].rstrip(".") + "."


def _shown(name: str, value: Any) -> str:
    if any(part.endswith(_SECRET) for part in re.split(r"[.\[]", name)):
        return "hidden" if not isinstance(value, str) else f"{len(value)} characters long"
    return repr(str(value)) if isinstance(value, str) else str(value)
