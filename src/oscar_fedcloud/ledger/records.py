# SPDX-License-Identifier: Apache-2.0
"""What the ledger takes and gives besides the types of ``oscar_fedcloud.model``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from oscar_fedcloud.domain.events import EventOutcome, StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queued run that is due.

    newer: a newer revision of the same object is queued, running or ended (other than cancelled or superseded), so this
    run is to be superseded. Never set for a run that a person asked for (retry, replay).
    busy: another run of the same object has to end first.
    doubtful: the order alone says that there is a newer revision, while the arrival of the events speaks against it: a
    clock was wrong, or an event came late. Only the store can tell which revision is the current one.
    newest: the order of that newer revision.
    """

    run: Run
    newer: bool
    busy: bool
    doubtful: bool = False
    newest: int = 0


@dataclass(frozen=True, slots=True)
class RunTransition:
    """What the end of an attempt means for its run.

    state: an ended state, or QUEUED for another attempt not before ``not_before`` (seconds since the epoch).
    callback: URL to tell of the end, "" for none.
    """

    state: RunState
    reason: str = ""
    not_before: float = 0.0
    counts_script: bool = False
    counts_infra: bool = False
    callback: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A body that could not be understood or stored as an event, kept whole. Lists read only its beginning."""

    id: int
    source: str
    body: bytes
    reason: str
    received: float
    size: int  # bytes of the whole body


@dataclass(frozen=True, slots=True)
class Callback:
    """A message that waits to be delivered. ``run`` shows state, reason, attempts and end as of when it was written."""

    id: int
    url: str
    run: Run
    tries: int


@dataclass(frozen=True, slots=True)
class Link:
    """An object that the run ``source`` wrote and the run ``target`` read."""

    source: str
    target: str
    provider: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Runs in the order of their arrival, and what links them. complete: whether nothing was left out for its size."""

    runs: tuple[Run, ...]
    links: tuple[Link, ...]
    complete: bool


class Trace(TypedDict):
    """What the ledger knows of one revision of a key. Without ``event``, only its identity is left."""

    event_id: str
    order: int  # of the revision, 0 when only its identity is left
    event: StorageEvent | None
    outcome: EventOutcome | None
    detail: str
    received: float | None
    runs: list[Run]
    seen: list[str]  # services for which this revision never runs again (baseline, or pruned history)
