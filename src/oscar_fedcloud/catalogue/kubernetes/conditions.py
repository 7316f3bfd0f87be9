# SPDX-License-Identifier: Apache-2.0
"""The status of an ``OscarService``: its state and conditions, and the state that the invoker needs to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oscar_fedcloud.catalogue.entries import Entry, InputState, input_names
from oscar_fedcloud.domain.services import ServiceState
from oscar_fedcloud.fdl import FdlProblem, from_document

_LONGEST = 8 * 1024  # characters of a message


def status_of(
    entry: Entry | None,
    state: ServiceState,
    reason: str,
    problems: str,
    generation: int,
    before: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """Return the whole status.

    Args:
        entry: the active revision, if any.
        problems: why the document is rejected; empty if it is accepted.
    """
    ready = entry is not None and state == "ready"
    why = "Invalid" if entry is None else state.capitalize()
    conditions = [
        _condition("Ready", ready, why, problems if entry is None else reason),
        _condition("Invalid", bool(problems), "DocumentRefused" if problems else "DocumentAccepted", problems),
    ]
    return {
        "observedGeneration": generation,
        "revision": entry.revision if entry else 0,
        "state": "invalid" if problems else state,
        "message": problems or reason,
        "inputs": _inputs(entry.inputs if entry else {}),
        "conditions": [_since(condition, generation, before, now) for condition in conditions],
    }


def inputs_of(status: Mapping[str, Any], entry: Entry) -> dict[str, InputState]:
    """Return the state of a revision's inputs. An input without a known state waits for its baseline."""
    known = {one["source"]: one for one in status.get("inputs") or ()}
    names = input_names(from_document(entry.document))
    return {
        name: InputState(known.get(name, {}).get("since", entry.changed), known.get(name, {}).get("baselined", False))
        for name in names
    }


def problem_text(problems: Sequence[FdlProblem]) -> str:
    """Return all problems of a document, one per line."""
    text = "\n".join(str(problem) for problem in problems)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _inputs(inputs: Mapping[str, InputState]) -> list[dict[str, Any]]:
    return [{"source": name, "since": one.since, "baselined": one.baselined} for name, one in inputs.items()]


def _condition(kind: str, true: bool, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": "True" if true else "False", "reason": reason, "message": message[:_LONGEST]}


def _since(condition: dict[str, Any], generation: int, before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the condition with the time of its last change of status."""
    time = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    for old in before.get("conditions") or ():
        if old["type"] == condition["type"] and old["status"] == condition["status"]:
            time = old.get("lastTransitionTime", time)
    return {**condition, "observedGeneration": generation, "lastTransitionTime": time}
