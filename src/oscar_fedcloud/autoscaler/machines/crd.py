# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinition of ``OscarMachine``, one object for each requested machine."""

from __future__ import annotations

from typing import Any, get_args

from oscar_fedcloud.autoscaler.model import MachinePhase
from oscar_fedcloud.autoscaler.names import GROUP, KIND, PLURAL, VERSION
from oscar_fedcloud.kube.manifests import PrinterColumn, custom_resource, to_yaml

Schema = dict[str, Any]

_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# The machines of the autoscaler as Kubernetes objects. Made by: python -m oscar_fedcloud.autoscaler
---
"""
_COLUMNS = (
    PrinterColumn("Pool", "string", ".spec.pool"),
    PrinterColumn("Phase", "string", ".status.phase"),
    PrinterColumn("Since", "date", ".status.since"),
    PrinterColumn("Cloud", "string", ".spec.cloud"),
    PrinterColumn("ID", "string", ".status.cloudId"),
    PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    PrinterColumn("Reason", "string", ".status.reason"),
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
    """Return the definition as YAML, for roles/autoscaler/files/kubernetes/crd.yaml."""
    return _HEADER + to_yaml(definition())


def definition() -> Schema:
    """Return the definition as plain data."""
    schema = {
        "type": "object",
        "description": "A machine of the node autoscaler. Its name is that of its node.",
        "required": ["spec"],
        "properties": {"spec": _SPEC, "status": _STATUS},
    }
    return custom_resource(GROUP, VERSION, KIND, PLURAL, "Cluster", _COLUMNS, schema)
