# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinition of ``OscarService``, generated from the field table of the FDL.

It contains names and types, so that ``kubectl`` rejects a misspelt field immediately and ``kubectl explain`` works. The
formats of values and the rules between fields are checked by the daemon, whose messages name the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oscar_fedcloud.catalogue.kubernetes.names import GROUP, KIND, PLURAL, VERSION
from oscar_fedcloud.fdl import json_schema
from oscar_fedcloud.kube.manifests import PrinterColumn, custom_resource, to_yaml

Schema = dict[str, Any]

_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_KEPT = ("type", "description", "enum", "minimum", "maximum", "minLength", "maxLength", "required")
_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# The services of the catalogue as Kubernetes objects. Made from the FDL: python -m oscar_fedcloud.catalogue.kubernetes
---
"""


def manifest() -> str:
    """Return the definition as YAML."""
    return _HEADER + to_yaml(definition())


def definition() -> dict[str, Any]:
    """Return the definition as plain data."""
    return custom_resource(GROUP, VERSION, KIND, PLURAL, "Namespaced", _COLUMNS, _object_schema())


_COLUMNS = (
    PrinterColumn("Image", "string", ".spec.image"),
    PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
    PrinterColumn("State", "string", ".status.state"),
    PrinterColumn("Revision", "integer", ".status.revision"),
    PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    PrinterColumn("Message", "string", ".status.message", wide=True),
)


def _object_schema() -> Schema:
    return {
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,37}[a-z0-9])?$')",
                "message": "the name of a service has 1 to 39 lower-case letters, digits and hyphens",
            }
        ],
        "properties": {
            "spec": spec_schema(),
            "status": _STATUS,
        },
    }


def spec_schema() -> Schema:
    """Return the structural schema of a service's document. The name is that of the object and may be omitted."""
    whole = json_schema()
    schema = structural(whole["$defs"]["Service"], whole["$defs"])
    schema["required"] = [name for name in schema["required"] if name != "name"]
    schema["description"] += (
        " The fields are those of the FDL. Secrets are moved from here into a Secret; `hidden` replaces them."
    )
    return schema


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Convert a JSON schema to the subset of Kubernetes, without references, patterns and alternatives."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return structural({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    kept = {key: schema[key] for key in _KEPT if key in schema}
    if isinstance(kept.get("type"), list) and "string" in kept["type"]:
        kept["type"] = (
            "string"  # kubectl has parsed numbers already, and 1.10 would arrive as 1.1: as in Pods, quote them
        )
    if "enum" in schema:
        kept.setdefault("type", "string")
    if not isinstance(kept.get("type"), str):
        return {**_ANY, **({"description": kept["description"]} if "description" in kept else {})}
    if "items" in schema:
        kept["items"] = structural(schema["items"], definitions)
    if isinstance(schema.get("additionalProperties"), Mapping):
        kept["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    if "properties" in schema:
        kept["properties"] = _properties(schema["properties"], definitions)
    return kept


def _properties(fields: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return the fields that a document may have, without those of responses and those stored elsewhere."""
    return {
        name: structural(field, definitions)
        for name, field in fields.items()
        if not field.get("readOnly") and not (field.get("deprecated") and field["description"].startswith("Now "))
    }


_STATUS: Schema = {
    "type": "object",
    "description": "The state of the service; written by the invoker.",
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The generation of the object that this status describes.",
        },
        "revision": {"type": "integer", "format": "int64", "description": "The active revision; 0 if there is none."},
        "state": {"type": "string", "description": "ready, pending, error, or invalid when the document is refused."},
        "message": {
            "type": "string",
            "description": "Why the service is not ready, or what is wrong with the document.",
        },
        "inputs": {
            "type": "array",
            "description": "The state of each input.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["source"],
            "items": {
                "type": "object",
                "required": ["source"],
                "properties": {
                    "source": {"type": "string", "description": "Store, bucket and prefix."},
                    "since": {
                        "type": "number",
                        "description": "Objects since this time count as new (s since the epoch).",
                    },
                    "baselined": {
                        "type": "boolean",
                        "description": "Whether older objects have been recorded as the baseline.",
                    },
                },
            },
        },
        "conditions": {
            "type": "array",
            "description": "Ready, and Invalid: the document is refused and the last valid revision stays active.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {
                    "type": {"type": "string"},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "reason": {"type": "string"},
                    "message": {"type": "string"},
                    "observedGeneration": {"type": "integer", "format": "int64"},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                },
            },
        },
    },
}
