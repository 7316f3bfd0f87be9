# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's decision as a pure function: the same snapshot always gives the same decision."""

from __future__ import annotations

from collections.abc import Sequence

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Decision, Pool, Rules
from oscar_fedcloud.autoscaler.planning.placement import make_plan
from oscar_fedcloud.autoscaler.planning.scale_down import removals
from oscar_fedcloud.autoscaler.planning.scale_up import launches, refusals


def decide(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules | None = None) -> Decision:
    """Return the machines to request and the next removal steps of machines that are not needed."""
    rules = rules or Rules()
    plan = make_plan(snapshot, pools, rules)
    return Decision(
        launches=tuple(launches(plan.candidates)),
        removals=tuple(removals(snapshot, pools, rules, plan)),
        refusals=tuple(refusals(plan.waiting, plan.candidates)),
        removals_blocked_by=plan.removals_blocked_by,
    )
