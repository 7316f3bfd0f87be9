# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinition of ``OscarMachine``: one object for each machine that was asked for."""

from __future__ import annotations

from typing import Any, get_args

from oscar_fedcloud.autoscaler.model import MachinePhase
from oscar_fedcloud.autoscaler.names import GROUP, KIND, PLURAL, VERSION
from oscar_fedcloud.kube.manifests import to_yaml

Schema = dict[str, Any]

_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# The machines of the autoscaler as Kubernetes objects. Made by: python -m oscar_fedcloud.autoscaler
---
"""
_COLUMNS = (
    ("Pool", "string", ".spec.pool"),
    ("Phase", "string", ".status.phase"),
    ("Since", "date", ".status.since"),
    ("Cloud", "string", ".spec.cloud"),
    ("ID", "string", ".status.cloudId"),
    ("Age", "date", ".metadata.creationTimestamp"),
    ("Reason", "string", ".status.reason"),
)
_SPEC: Schema = {
    "type": "object",
    "required": ["pool", "cloud"],
    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "a machine cannot change its pool or cloud"}],
    "properties": {
        "pool": {"type": "string", "description": "The pool that it belongs to."},
        "cloud": {"type": "string", "description": "The cloud that it was asked from, as the configuration names it."},
    },
}
_STATUS: Schema = {
    "type": "object",
    "description": "How the machine stands; written by the autoscaler. Without a phase the cloud was not told yet.",
    "properties": {
        "phase": {"type": "string", "enum": list(get_args(MachinePhase))},
        "since": {"type": "string", "format": "date-time", "description": "When it came to this phase."},
        "cloudId": {"type": "string", "description": "The cloud's own name for it."},
        "reason": {"type": "string", "description": "Why it is in this phase."},
    },
}


def manifest() -> str:
    """The definition as YAML, roles/autoscaler/files/kubernetes/crd.yaml."""
    return _HEADER + to_yaml(definition())


def definition() -> Schema:
    """The definition as plain data."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": name, "type": kind, "jsonPath": path} for name, kind, path in _COLUMNS],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": "A machine of the node autoscaler. Its name is that of its node.",
                "required": ["spec"],
                "properties": {"spec": _SPEC, "status": _STATUS},
            }
        },
    }
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "categories": ["oscar"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }
