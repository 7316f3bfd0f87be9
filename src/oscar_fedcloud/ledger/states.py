# SPDX-License-Identifier: Apache-2.0
"""The state machine of a run, as pure functions."""

from __future__ import annotations

from oscar_fedcloud.domain.runs import RunState

ENDED = frozenset(RunState) - {RunState.QUEUED, RunState.RUNNING}
RETRYABLE = ENDED - {RunState.SUCCEEDED}

_NEXT = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.SUPERSEDED, RunState.CANCELLED}),
    RunState.RUNNING: ENDED | {RunState.QUEUED},
}
_REVIVAL = frozenset({RunState.QUEUED})


def allowed(before: RunState, after: RunState) -> bool:
    """Return whether a run may change from one state to the other. An ended run can only be queued again."""
    return after in _NEXT.get(before, _REVIVAL)
