# SPDX-License-Identifier: Apache-2.0
"""Write Kubernetes objects as YAML files of the roles, and define custom resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of ``kubectl get``; with ``wide`` only of ``--output=wide``."""

    name: str
    type: str
    path: str
    wide: bool = False

    def definition(self) -> dict[str, Any]:
        """Return the column for the API."""
        # the server drops a priority of zero, and kubectl would apply it again each time
        return {"name": self.name, "type": self.type, "jsonPath": self.path, **({"priority": 1} if self.wide else {})}


def custom_resource(
    group: str,
    version: str,
    kind: str,
    plural: str,
    scope: Literal["Cluster", "Namespaced"],
    columns: Iterable[PrinterColumn],
    schema: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind with one version, a status and the category ``oscar``."""
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.definition() for column in columns],
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": {**names, "categories": ["oscar"]}, "versions": [served]},
    }


def to_yaml(definition: dict[str, Any]) -> str:
    """Return the object as YAML in the project's style."""
    text: str = yaml.dump(definition, Dumper=_Indented, sort_keys=False, width=150, allow_unicode=True)
    return text


class _Indented(yaml.SafeDumper):
    """Indents lists, and repeats values instead of using aliases."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True
