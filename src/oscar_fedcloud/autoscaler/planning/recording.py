# SPDX-License-Identifier: Apache-2.0
"""Decisions written down with all that they were made from, and made again later: one line of JSON each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Decision, Launch, Pool, Refusal, Removal, Rules
from oscar_fedcloud.autoscaler.planning.decide import decide

_VERSION = 2
# Fields that version 1 called otherwise.
_FORMER_GROUP_FIELDS = {"apart": "anti_affinity"}
_FORMER_NODE_FIELDS = {"held": "non_evictable", "movable": "evictable", "pinned": "anti_affinity_on_node"}
_FORMER_HEALTH_FIELDS = {"room": "headroom"}
_FORMER_POOL_FIELDS = {"start_limit": "startup_timeout"}
_FORMER_DECISION_FIELDS = {"held_back": "removals_blocked_by"}


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision. Pools are without their templates, which no decision looks at and which belong to the cloud."""

    version: int
    snapshot: ClusterSnapshot
    pools: tuple[Pool, ...]
    rules: Rules
    decision: Decision


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """A recorded decision beside what is decided from the same snapshot now."""

    snapshot: ClusterSnapshot
    pools: tuple[Pool, ...]
    rules: Rules
    recorded: Decision
    decision: Decision

    @property
    def same(self) -> bool:
        """Whether both decisions are the same."""
        return self.recorded == self.decision

    def text(self) -> str:
        """For people."""
        if self.same:
            return "\n".join(["the same decision:", *_lines(self.decision)])
        then, now = _lines(self.recorded), _lines(self.decision)
        return "\n".join(["another decision, then:", *then, "now:", *now])


def record(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, decision: Decision) -> bytes:
    """One line for a file of records."""
    bare = tuple(replace(pool, template={}) for pool in pools)
    return msgspec.json.encode(DecisionRecord(_VERSION, snapshot, bare, rules, decision)) + b"\n"


def replay(line: bytes) -> ReplayedDecision:
    """Decide again what a line records. Raises ValueError when it is no such line."""
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
    """A launch for people."""
    resumed = f", {len(launch.resume)} of them stopped ones" if launch.resume else ""
    return f"pool {launch.pool}: +{launch.count} machine{'s' * (launch.count > 1)}{resumed} ({launch.reason})"


def show_removal(removal: Removal) -> str:
    """A step for people."""
    return f"machine {removal.machine}: {removal.step.replace('_', ' ')} ({removal.reason})"


def show_refusal(refusal: Refusal) -> str:
    """A refusal for people."""
    reasons = "; ".join(f"pool {pool}: {reason}" for pool, reason in sorted(refusal.reasons.items()))
    return f"{refusal.count} Pods ask in vain ({reasons or 'there is no pool'})"
