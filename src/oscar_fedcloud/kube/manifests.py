# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as the YAML files of the roles."""

from __future__ import annotations

from typing import Any

import yaml


def to_yaml(definition: dict[str, Any]) -> str:
    """The object as our YAML files are written."""
    text: str = yaml.dump(definition, Dumper=_Indented, sort_keys=False, width=150, allow_unicode=True)
    return text


class _Indented(yaml.SafeDumper):
    """Indents lists, as our other YAML does, and repeats instead of referring."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True
