# SPDX-License-Identifier: Apache-2.0
"""Build the template of an empty node of a pool, as a v1.Node in protobuf."""

from __future__ import annotations

from oscar_fedcloud.autoscaler.external.protos import node_pb2
from oscar_fedcloud.autoscaler.model import Pool
from oscar_fedcloud.autoscaler.names import POOL_LABEL


def template_node(pool: Pool) -> bytes:
    """Return a node that has just become Ready, on which Cluster Autoscaler simulates Pods."""
    name = f"{pool.name}-template"
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        POOL_LABEL: pool.name,
        **pool.labels,
    }
    resources = {
        resource: node_pb2.Quantity(string=f"{amount}m" if resource == "cpu" else str(amount))
        for resource, amount in pool.capacity.items()
    }
    taints = [node_pb2.Taint(key=each.key, value=each.value, effect=each.effect) for each in pool.taints]
    node = node_pb2.Node(
        metadata=node_pb2.ObjectMeta(name=name, labels=labels),
        spec=node_pb2.NodeSpec(taints=taints),
        status=node_pb2.NodeStatus(
            capacity=resources,
            allocatable=resources,
            conditions=[node_pb2.NodeCondition(type="Ready", status="True")],
        ),
    )
    return bytes(node.SerializeToString())
