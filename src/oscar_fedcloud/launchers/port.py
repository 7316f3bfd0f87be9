# SPDX-License-Identifier: Apache-2.0
"""What a launcher is: it starts Jobs and reports how they ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from oscar_fedcloud.domain.runs import Completion, OutputPlace, Run
from oscar_fedcloud.fdl import Service


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that a launcher needs for one attempt.

    env: all variables that are no secret. constant: those of them that the service alone decides. secrets: storage
    keys, and secrets of the service. outputs: the places that it may write to, in the order of the service's outputs.
    """

    job: str
    service: Service
    service_revision: str
    script: bytes
    run: Run
    attempt: int
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    memory: int  # bytes
    cpu: float  # cores
    timeout: float  # seconds, 0 = none
    image: str = ""
    constant: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[OutputPlace, ...] = ()


class Launcher(Protocol):
    """Starts Jobs and tells how they ended. ``start`` is idempotent by Job name."""

    async def start(self, spec: JobSpec) -> None:
        """Start the Job, or adopt it when it already exists. Raises LaunchError when it cannot be started."""

    async def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Take up Jobs of an earlier life; returns those that exist (running or ended). Their completions follow.

        jobs: with where each may have written, for a launcher that has no more than a record left; () if unknown.
        """

    async def cancel(self, job: str) -> None:
        """End the Job; its Completion (CANCELLED) follows. Unknown names are ignored."""

    def completions(self) -> AsyncIterator[Completion]:
        """Each ended Job, once per life of the invoker, until ``acknowledge``."""

    async def acknowledge(self, job: str) -> None:
        """The ledger holds the completion: what the launcher kept of it may be removed."""

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        """The Job's log behind an offset in bytes while the launcher still has it, else None."""

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Return why a started Job does not run yet, as (code, detail), or None. From memory, without a request."""

    def progress(self, job: str) -> str:
        """Return what a Job waits for while it runs, e.g. a store that is away, or "". Called from threads."""

    async def collect(self, current: Mapping[str, str]) -> None:
        """Remove what was kept for revisions of services that are neither in ``current`` nor needed by a Job."""

    def health(self) -> dict[str, Any]:
        """Whether Jobs can be started and watched: ``{"ok": bool, "detail": str}``."""

    async def close(self) -> None:
        """Stop watching. Jobs go on."""


class LaunchError(Exception):
    """The launcher could not start a Job; counted as an infrastructure failure."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a log in chunks.

    Attributes:
        end: the offset at which the log goes on behind it, None when that is not known before it is read.
    """

    chunks: Iterator[bytes]
    end: int | None
