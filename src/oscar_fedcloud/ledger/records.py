# SPDX-License-Identifier: Apache-2.0
"""Data types of the ledger's interface, in addition to those of ``oscar_fedcloud.domain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from oscar_fedcloud.domain.events import EventOutcome, StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queued run that is due.

    Attributes:
        newer: a newer revision of the same object is queued, running or ended (other than cancelled or superseded), so
            this run is to be superseded. Never set for a run that a user requested (retry, replay).
        busy: another run of the same object has to end first.
        doubtful: a newer revision exists by order only, while the arrival of the events contradicts it: a clock was
            wrong, or an event came late. Only the store can tell which revision is current.
        newest: the order of that newer revision.
    """

    run: Run
    newer: bool
    busy: bool
    doubtful: bool = False
    newest: int = 0


@dataclass(frozen=True, slots=True)
class RunTransition:
    """The effect of an attempt's end on its run.

    Attributes:
        state: an ended state, or QUEUED for another attempt not before ``not_before`` (seconds since the epoch).
        callback: URL to notify of the end; empty for none.
    """

    state: RunState
    reason: str = ""
    not_before: float = 0.0
    counts_script: bool = False
    counts_infra: bool = False
    callback: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A body that could not be read or stored as an event, stored whole. Lists read only its beginning."""

    id: int
    source: str
    body: bytes
    reason: str
    received: float
    size: int  # bytes of the whole body


@dataclass(frozen=True, slots=True)
class Callback:
    """A message waiting to be delivered. ``run`` has the state, reason, attempts and end at the time of writing."""

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
    """Runs in the order of arrival, and their links.

    ``complete`` is False if some were left out because of its size.
    """

    runs: tuple[Run, ...]
    links: tuple[Link, ...]
    complete: bool


class Trace(TypedDict):
    """The ledger's data about one revision of a key. Without ``event``, only its identity is left."""

    event_id: str
    order: int  # of the revision; 0 if only its identity is left
    event: StorageEvent | None
    outcome: EventOutcome | None
    detail: str
    received: float | None
    runs: list[Run]
    seen: list[str]  # services for which this revision never runs again (baseline, or pruned history)
