# SPDX-License-Identifier: BSD-2-Clause

"""How the jobs of a service stand in a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from . import forms
from .containers import ListOf, MapOf, Record
from .kinds import Bool, Choice, Int, Text
from .table import spec


@dataclass(frozen=True)
class Toleration:
    """A taint of nodes that does not keep jobs away."""

    PRIVATE: ClassVar[bool] = True
    key: str = spec(Text(), "", "fedcloud", "Key of the taint; none with operator `Exists`: all taints.")
    operator: str = spec(Choice("Equal", "Exists"), "Equal", "fedcloud", "Whether the value matters.")
    value: str = spec(Text(), "", "fedcloud", "Value of the taint.")
    effect: str = spec(
        Choice("", "NoSchedule", "PreferNoSchedule", "NoExecute"), "", "fedcloud", "Effect of the taint; none: all."
    )


@dataclass(frozen=True)
class Kubernetes:
    """How jobs stand in a Kubernetes cluster."""

    cpu_limit: bool = spec(Bool(), False, "fedcloud", "Whether `cpu` is also the most that a job may use.")
    gpus: int = spec(Int(0, 64), 0, "fedcloud", "GPUs of a job; 0 is one with `enable_gpu`, else none.")
    node_selector: Mapping[str, str] = spec(
        MapOf(forms.LABEL_VALUE, forms.LABEL_NAME, forms.LABEL_RULE),
        {},
        "fedcloud",
        "Labels that a node must have.",
    )
    tolerations: tuple[Toleration, ...] = spec(
        ListOf(Record(Toleration)), (), "fedcloud", "Taints that do not keep jobs away."
    )
    image_pull_policy: str = spec(
        Choice("", "Always", "IfNotPresent", "Never"),
        "",
        "fedcloud",
        "When to pull the image; none: as Kubernetes does.",
    )
    pod_security: str = spec(
        Choice("", "restricted", "baseline"),
        "",
        "fedcloud",
        "Pod Security level; with `baseline` jobs run as the image's own user, be it root. None: the server's choice.",
    )
    run_as_user: int = spec(
        Int(0, 2147483647), 0, "fedcloud", "User id of jobs; 0 is the server's choice, or the image's with `baseline`."
    )
    run_as_group: int = spec(Int(0, 2147483647), 0, "fedcloud", "Group id of jobs; 0 is the user id.")
