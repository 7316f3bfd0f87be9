# SPDX-License-Identifier: Apache-2.0
"""The dispatcher's decisions as pure functions: which runs start now, and what follows from the end of an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from oscar_fedcloud.dispatch.policy import INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF_MAX
from oscar_fedcloud.domain.runs import INFRASTRUCTURE, AttemptState, Completion, Run, RunState
from oscar_fedcloud.fdl import Retry
from oscar_fedcloud.ledger import Candidate, RunTransition

# Ends that no repetition can change.
_FINAL = {
    AttemptState.SUCCEEDED: RunState.SUCCEEDED,
    AttemptState.CANCELLED: RunState.CANCELLED,
    AttemptState.INPUT_GONE: RunState.INPUT_GONE,
    AttemptState.INPUT_CHANGED: RunState.SUPERSEDED,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Runs to start, in this order, and queued runs whose key has a newer revision.

    doubtful: runs of which only the store can tell whether there is a newer one.
    """

    starts: tuple[Run, ...]
    superseded: tuple[Run, ...]
    doubtful: tuple[Candidate, ...] = ()


def choose(due: Mapping[str, Sequence[Candidate]], room: Mapping[str, int], total: int) -> Choice:
    """Take runs from the services in turn, each within its own room, all within ``total``.

    due: candidates by service, oldest revision first; the services are served in the mapping's order.
    """
    superseded = tuple(item.run for items in due.values() for item in items if item.newer and not item.doubtful)
    doubtful = tuple(item for items in due.values() for item in items if item.doubtful)
    ready = [
        [item.run for item in items if not (item.newer or item.busy)][: max(0, room.get(service, 0))]
        for service, items in due.items()
    ]
    in_turn = [run for row in zip_longest(*ready) for run in row if run is not None]
    return Choice(tuple(in_turn[: max(0, total)]), superseded, doubtful)


def backoff(first: float, limit: float, failures: int, jitter: float) -> float:
    """Seconds to wait after the n-th failure: doubled each time up to the limit, then less by up to a half.

    jitter: a random number in [0, 1), so that many runs that failed together do not come back together.
    """
    wait = min(limit, first * 2.0 ** min(max(0, failures - 1), 60))
    return wait * (1.0 - jitter / 2.0)


def transition(
    run: Run, retry: Retry, callback: str, completion: Completion, now: float, jitter: float
) -> RunTransition:
    """What becomes of a run when its attempt has ended."""
    final = _FINAL.get(completion.state)
    if final is not None:
        return _verdict(final, completion.reason, callback=callback)
    if completion.state in INFRASTRUCTURE:
        failures = run.infra_failures + 1
        if failures <= retry.infrastructure:
            wait = backoff(INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF_MAX, failures, jitter)
            return _verdict(RunState.QUEUED, completion.reason, not_before=now + wait, infra=True)
        return _verdict(RunState.FAILED, completion.reason, infra=True, callback=callback)
    failures = run.script_failures + 1
    if failures < retry.attempts:
        wait = backoff(retry.backoff, retry.backoff_max, failures, jitter)
        return _verdict(RunState.QUEUED, completion.reason, not_before=now + wait, script=True)
    return _verdict(RunState.FAILED, completion.reason, script=True, callback=callback)


def _verdict(
    state: RunState,
    reason: str,
    *,
    not_before: float = 0.0,
    script: bool = False,
    infra: bool = False,
    callback: str = "",
) -> RunTransition:
    return RunTransition(
        state=state,
        reason=reason,
        not_before=not_before,
        counts_script=script,
        counts_infra=infra,
        callback=callback,
    )
