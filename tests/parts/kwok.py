# SPDX-License-Identifier: Apache-2.0
"""kwok: one process that plays the nodes of a cluster and their kubelets.

Nodes with the annotation ``MARK`` become Ready, Pods that are bound to them run and, if wished, end after a while.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from parts.kube import KubeServer, kube_binary
from parts.server import Server

MARK = {"kwok.x-k8s.io/node": "fake"}
_READY = """\
conditions:
- {type: Ready, status: "True", lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
"""
_RUNNING = """\
phase: Running
startTime: {{ Now | Quote }}
conditions:
- {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
"""


class Kwok(Server):
    """It takes up what it finds; nodes and Pods stay as they are while it is stopped."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.folder: Path = kube.folder

    def start(self, ends: tuple[float, float] | None = None) -> Kwok:
        """Play. ends: after how many seconds Pods of Jobs end well, at least and at most; None = they go on."""
        config = self.folder / "kwok.yaml"
        config.write_text(yaml.safe_dump_all(_stages(ends)), encoding="utf-8")
        options = ["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--v=WARN"]
        command = [str(kube_binary("kwok")), f"--config={config}", f"--kubeconfig={self.kube.kubeconfig}", *options]
        with (self.folder / "kwok.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self


def _stages(ends: tuple[float, float] | None) -> list[dict[str, Any]]:
    """What kwok does with which objects: the stages of https://kwok.sigs.k8s.io/docs/user/stages-configuration/."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    stays = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    in_phase = {"key": ".status.phase", "operator": "In"}
    stages = [
        _stage("Node", "joins", [{"key": ready, "operator": "NotIn", "values": ["True"]}], {"statusTemplate": _READY}),
        _stage("Pod", "runs", [stays, in_phase | {"values": ["Pending"]}], {"statusTemplate": _RUNNING}),
        _stage("Pod", "goes", [stays | {"operator": "Exists"}], {"delete": True}),
    ]
    if ends:
        of_job = {"key": ".metadata.ownerReferences.[].kind", "operator": "In", "values": ["Job"]}
        end = _stage(
            "Pod", "ends", [stays, of_job, in_phase | {"values": ["Running"]}], {"statusTemplate": "phase: Succeeded"}
        )
        least, most = (int(each * 1000) for each in ends)
        end["spec"]["delay"] = {"durationMilliseconds": least, "jitterDurationMilliseconds": most}
        stages.append(end)
    return stages


def _stage(kind: str, name: str, when: list[Mapping[str, Any]], then: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"{kind.lower()}-{name}"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": [dict(each) for each in when]},
            "next": dict(then),
        },
    }
