# SPDX-License-Identifier: Apache-2.0
"""Record decisions together with their input, one line of JSON each, and replay them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Decision, Launch, Pool, Refusal, Removal, Rules
from oscar_fedcloud.autoscaler.planning.decide import decide

_VERSION = 2
# Names of fields in version 1 -> current names.
_FORMER_GROUP_FIELDS = {"apart": "anti_affinity"}
_FORMER_NODE_FIELDS = {"held": "non_evictable", "movable": "evictable", "pinned": "anti_affinity_on_node"}
_FORMER_HEALTH_FIELDS = {"room": "headroom"}
_FORMER_POOL_FIELDS = {"start_limit": "startup_timeout"}
_FORMER_DECISION_FIELDS = {"held_back": "removals_blocked_by"}


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision. Pools have no templates here: decisions do not depend on them, and they may hold secrets."""

    version: int
    snapshot: ClusterSnapshot
    pools: tuple[Pool, ...]
    rules: Rules
    decision: Decision


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """A recorded decision, and the decision from the same snapshot now."""

    snapshot: ClusterSnapshot
    pools: tuple[Pool, ...]
    rules: Rules
    recorded: Decision
    decision: Decision

    @property
    def same(self) -> bool:
        """Return whether both decisions are equal."""
        return self.recorded == self.decision

    def text(self) -> str:
        """Return the comparison as text for people."""
        if self.same:
            return "\n".join(["the same decision:", *_lines(self.decision)])
        then, now = _lines(self.recorded), _lines(self.decision)
        return "\n".join(["another decision, then:", *then, "now:", *now])


def record(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, decision: Decision) -> bytes:
    """Return the record as one line."""
    bare = tuple(replace(pool, template={}) for pool in pools)
    return msgspec.json.encode(DecisionRecord(_VERSION, snapshot, bare, rules, decision)) + b"\n"


def replay(line: bytes) -> ReplayedDecision:
    """Decide again from a recorded line. Raises ValueError if the line is not a record."""
    try:
        document = msgspec.json.decode(line)
        if document.get("version") == 1:
            _upgrade(document)
        found = msgspec.convert(document, DecisionRecord)
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"this is not a recorded decision: {error}") from error
    if found.version != _VERSION:
        raise ValueError(f"the record has version {found.version}, this program reads versions 1 to {_VERSION}")
    decision = decide(found.snapshot, found.pools, found.rules)
    return ReplayedDecision(found.snapshot, found.pools, found.rules, found.decision, decision)


def _upgrade(record: dict[str, Any]) -> None:
    """Turn a record of version 1 into one of the current version, in place."""
    snapshot, decision = record["snapshot"], record["decision"]
    groups = [each["shape"] for each in (*snapshot["demand"], *decision["refusals"])] + [*snapshot["daemons"]]
    for node in snapshot["nodes"].values():
        _rename(node, _FORMER_NODE_FIELDS)
        groups += node["evictable"]
    for group in groups:
        _rename(group, _FORMER_GROUP_FIELDS)
    for health in snapshot["health"].values():
        _rename(health, _FORMER_HEALTH_FIELDS)
    for pool in record["pools"]:
        _rename(pool, _FORMER_POOL_FIELDS)
    _rename(decision, _FORMER_DECISION_FIELDS)
    record["version"] = _VERSION


def _rename(section: dict[str, Any], former_names: Mapping[str, str]) -> None:
    for former, current in former_names.items():
        section[current] = section.pop(former)


def _lines(decision: Decision) -> list[str]:
    lines = [*map(show_launch, decision.launches), *map(show_removal, decision.removals)]
    lines += map(show_refusal, decision.refusals)
    if decision.removals_blocked_by:
        lines.append(f"nothing is removed: {decision.removals_blocked_by}")
    return [f"  {line}" for line in lines or ["nothing to do"]]


def show_launch(launch: Launch) -> str:
    """Return a launch as text for people."""
    resumed = f", {len(launch.resume)} of them stopped" if launch.resume else ""
    return f"pool {launch.pool}: +{launch.count} machine{'s' * (launch.count > 1)}{resumed} ({launch.reason})"


def show_removal(removal: Removal) -> str:
    """Return a removal step as text for people."""
    return f"machine {removal.machine}: {removal.step.replace('_', ' ')} ({removal.reason})"


def show_refusal(refusal: Refusal) -> str:
    """Return a refusal as text for people."""
    reasons = "; ".join(f"pool {pool}: {reason}" for pool, reason in sorted(refusal.reasons.items()))
    return f"{refusal.count} Pods cannot be scheduled ({reasons or 'there is no pool'})"
