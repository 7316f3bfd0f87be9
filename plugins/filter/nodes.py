# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes of a cluster, compared with what is wanted. Each filter is documented in the YAML file of its name."""

from __future__ import annotations

import re

# Names of labels that belong to Kubernetes; a kubelet may not set them on its own node.
RESERVED = re.compile(r"([^/]+[.])?(kubernetes|k8s)[.]io/")


def node_state(node):
    """Return what roles need to know of a Node object."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    taints = spec.get("taints") or ()
    return {
        "ready": conditions.get("Ready") == "True",
        "labels": dict(node["metadata"].get("labels") or {}),
        "taints": [f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in taints],
    }


def node_changes(state, labels, taints, removed_taints=()):
    """Return the arguments of ``kubectl label`` and ``kubectl taint`` that bring a node to the wanted state."""
    lacking = {name: str(value) for name, value in labels.items() if state["labels"].get(name) != str(value)}
    present = state["taints"]
    return {
        "labels": [f"{name}={value}" for name, value in lacking.items()],
        "taints": [taint for taint in taints if taint not in present]
        + [f"{taint}-" for taint in removed_taints if taint in present],
    }


def kubelet_labels(labels):
    """Return the labels that a kubelet may set on its own node, as its option ``node-labels`` takes them."""
    return ",".join(f"{name}={value}" for name, value in labels.items() if not RESERVED.match(name))


def join_parameters(command):
    """Return what ``kubeadm token create --print-join-command`` printed; empty texts if it printed nothing."""
    words = command.split()
    options = {words[index]: words[index + 1] for index in range(len(words) - 1)}
    return {
        "endpoint": options.get("join", ""),
        "token": options.get("--token", ""),
        "ca_hash": options.get("--discovery-token-ca-cert-hash", ""),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {
            "join_parameters": join_parameters,
            "kubelet_labels": kubelet_labels,
            "node_changes": node_changes,
            "node_state": node_state,
        }
