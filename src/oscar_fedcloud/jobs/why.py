# SPDX-License-Identifier: Apache-2.0
"""Why did this file (not) run? Read from what the ledger recorded of each revision of its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from oscar_fedcloud.core_types import Answer, Verdict
from oscar_fedcloud.ledger import Trace
from oscar_fedcloud.model import EventOutcome, Run, RunState

_BY_STATE: dict[RunState, Verdict] = {
    RunState.QUEUED: "waiting",
    RunState.RUNNING: "running",
    RunState.SUCCEEDED: "ran",
    RunState.FAILED: "failed",
    RunState.SUPERSEDED: "superseded",
    RunState.INPUT_GONE: "input_gone",
    RunState.CANCELLED: "cancelled",
}
_BY_OUTCOME: dict[EventOutcome, Verdict] = {
    EventOutcome.NO_SERVICE: "no_service",
    EventOutcome.FILTERED: "filtered",
    EventOutcome.TOO_DEEP: "too_deep",
    EventOutcome.BAD_KEY: "bad_key",
}


def answers(traces: Iterable[Trace], service: str = "") -> list[Answer]:
    """One answer for each service and revision of a key, newest revision first; ``service`` leaves the others out."""
    found = [answer for trace in traces for answer in _answers(trace)]
    chosen = [answer for answer in found if not service or answer.service in ("", service)]
    return chosen or [Answer(service, "unknown", "no event and no listing has shown this object so far")]


def _answers(trace: Trace) -> Iterator[Answer]:
    for run in trace["runs"]:
        yield Answer(run.service, _BY_STATE[run.state], _detail(run), run.id)
    for name in trace["seen"]:
        yield Answer(name, "baseline", "this revision was there before the service, or its history has been pruned")
    outcome = trace["outcome"]
    if outcome in _BY_OUTCOME:
        yield Answer("", _BY_OUTCOME[outcome], trace["detail"])
    elif trace["detail"]:
        yield Answer("", "filtered", trace["detail"])


def _detail(run: Run) -> str:
    attempts = f"attempt {run.attempts}" if run.attempts else "no attempt yet"
    return f"{run.reason} ({attempts})" if run.reason else attempts
