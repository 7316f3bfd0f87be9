# SPDX-License-Identifier: Apache-2.0
"""The commands of ``oscar-autoscaler`` that show something: tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from oscar_fedcloud.autoscaler.assembly import Inspection, inspect
from oscar_fedcloud.autoscaler.config.loading import load
from oscar_fedcloud.autoscaler.machines.machines import MachineStore
from oscar_fedcloud.autoscaler.model import Decision, MachineView
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.explain import explain
from oscar_fedcloud.autoscaler.planning.recording import record, replay, show_launch, show_refusal, show_removal
from oscar_fedcloud.autoscaler.planning.whatif import parse_demand, what_if
from oscar_fedcloud.config import ConfigError
from oscar_fedcloud.kube import KubeClient


def machines(options: argparse.Namespace) -> int:
    """List the machines."""
    config = load(options.config)
    found = sorted(asyncio.run(_machines(config.kubeconfig)), key=lambda each: each.name)
    if options.json:
        _print_json([asdict(each) for each in found])
    elif not found:
        print("There are no machines.")
    else:
        now = time.time()
        rows = [
            (each.name, each.pool, each.phase, span(now - each.since), each.cloud_id, each.reason) for each in found
        ]
        print(table(("MACHINE", "POOL", "PHASE", "SINCE", "ID", "REASON"), rows))
    return 0


async def _machines(kubeconfig: str) -> Sequence[MachineView]:
    client = KubeClient(kubeconfig)
    try:
        store = MachineStore(client)
        await store.load()
        return list(store.views().values())
    finally:
        await client.close()


def explain_one(options: argparse.Namespace) -> int:
    """Why a Pod triggers machines or not, why a node stays or goes."""
    seen = _look(options)
    found = explain(seen.snapshot, seen.pools, seen.rules, options.what)
    if options.json:
        _print_json({"subject": found.subject, "outcome": found.outcome, "details": list(found.details)})
    else:
        print(found.text())
    return 0 if found.known else 4


def plan(options: argparse.Namespace) -> int:
    """What would be decided now, or with more Pods."""
    try:
        demand = [parse_demand(text) for text in options.what_if]
    except ValueError as error:
        raise ConfigError(f"--what-if: {error}") from error
    seen = _look(options)
    if demand:
        outlook = what_if(seen.snapshot, seen.pools, seen.rules, demand)
        print(msgspec.json.encode(outlook).decode() if options.json else outlook.text())
        return 0
    decision = decide(seen.snapshot, seen.pools, seen.rules)
    print(msgspec.json.encode(decision).decode() if options.json else decision_text(decision))
    return 0


def decision_text(decision: Decision) -> str:
    """A decision as people read it."""
    lines = [show_launch(each) for each in decision.launches]
    lines += [show_removal(each) for each in decision.removals]
    lines += [show_refusal(each) for each in decision.refusals]
    if decision.removals_blocked_by:
        lines.append(f"nothing is removed: {decision.removals_blocked_by}")
    return "\n".join(lines) or "Nothing would be done."


def record_once(options: argparse.Namespace) -> int:
    """Write down how things stand and what would be decided."""
    seen = _look(options)
    line = record(seen.snapshot, seen.pools, seen.rules, decide(seen.snapshot, seen.pools, seen.rules))
    if options.file is None:
        sys.stdout.buffer.write(line)
    else:
        with options.file.open("ab") as file:
            file.write(line)
    return 0


def replay_file(options: argparse.Namespace) -> int:
    """Decide again on each recorded line; 3 when a decision differs."""
    differs = False
    for number, line in enumerate(options.file.read_bytes().splitlines(), 1):
        try:
            found = replay(line)
        except (ValueError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{options.file}, line {number} is no record: {error}") from error
        differs |= not found.same
        if options.json:
            _print_json({"line": number, "same": found.same, "recorded": found.recorded, "decision": found.decision})
        else:
            print(f"{options.file}:{number}: {found.text()}")
    return 3 if differs else 0


def _look(options: argparse.Namespace) -> Inspection:
    return asyncio.run(inspect(load(options.config)))


def _print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode())


def span(seconds: float) -> str:
    """A time span in two digits and a unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest entry."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows))
