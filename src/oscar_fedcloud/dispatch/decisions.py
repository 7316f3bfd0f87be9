# SPDX-License-Identifier: Apache-2.0
"""The dispatcher's decisions as pure functions: which runs start now, and how a run continues after an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from oscar_fedcloud.dispatch.policy import INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF_MAX
from oscar_fedcloud.domain.runs import INFRASTRUCTURE, AttemptState, Completion, Run, RunState
from oscar_fedcloud.fdl import Retry
from oscar_fedcloud.ledger import Candidate, RunTransition

# Final states, which a retry cannot change.
_FINAL = {
    AttemptState.SUCCEEDED: RunState.SUCCEEDED,
    AttemptState.CANCELLED: RunState.CANCELLED,
    AttemptState.INPUT_GONE: RunState.INPUT_GONE,
    AttemptState.INPUT_CHANGED: RunState.SUPERSEDED,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The runs to start, in this order, and the queued runs whose key has a newer revision.

    Attributes:
        doubtful: runs for which only the store can tell whether a newer revision exists.
    """

    starts: tuple[Run, ...]
    superseded: tuple[Run, ...]
    doubtful: tuple[Candidate, ...] = ()


def choose(due: Mapping[str, Sequence[Candidate]], free_slots: Mapping[str, int], total: int) -> Choice:
    """Take runs from the services in turn, within each service's free slots and within ``total``.

    Args:
        due: candidates by service, oldest revision first; services are served in the order of the mapping.
    """
    superseded = tuple(item.run for items in due.values() for item in items if item.newer and not item.doubtful)
    doubtful = tuple(item for items in due.values() for item in items if item.doubtful)
    ready = [
        [item.run for item in items if not (item.newer or item.busy)][: max(0, free_slots.get(service, 0))]
        for service, items in due.items()
    ]
    in_turn = [run for row in zip_longest(*ready) for run in row if run is not None]
    return Choice(tuple(in_turn[: max(0, total)]), superseded, doubtful)


def backoff(first: float, limit: float, failures: int, jitter: float) -> float:
    """Return the seconds to wait after the n-th failure: doubled each time up to the limit, reduced by up to one half.

    Args:
        jitter: a random number in [0, 1), so that runs that failed together are not retried together.
    """
    wait = min(limit, first * 2.0 ** min(max(0, failures - 1), 60))
    return wait * (1.0 - jitter / 2.0)


def transition(
    run: Run, retry: Retry, callback: str, completion: Completion, now: float, jitter: float
) -> RunTransition:
    """Return the next state of a run whose attempt has ended."""
    final = _FINAL.get(completion.state)
    if final is not None:
        return _transition(final, completion.reason, callback=callback)
    if completion.state in INFRASTRUCTURE:
        failures = run.infra_failures + 1
        if failures <= retry.infrastructure:
            wait = backoff(INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF_MAX, failures, jitter)
            return _transition(RunState.QUEUED, completion.reason, not_before=now + wait, infra=True)
        return _transition(RunState.FAILED, completion.reason, infra=True, callback=callback)
    failures = run.script_failures + 1
    if failures < retry.attempts:
        wait = backoff(retry.backoff, retry.backoff_max, failures, jitter)
        return _transition(RunState.QUEUED, completion.reason, not_before=now + wait, script=True)
    return _transition(RunState.FAILED, completion.reason, script=True, callback=callback)


def _transition(
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
