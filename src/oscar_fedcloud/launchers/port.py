# SPDX-License-Identifier: Apache-2.0
"""The interface of launchers, which start Jobs and report how they ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from oscar_fedcloud.domain.runs import Completion, OutputPlace, Run
from oscar_fedcloud.fdl import Service


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything that a launcher needs for one attempt."""

    job: str
    service: Service
    service_revision: str
    script: bytes
    run: Run
    attempt: int
    env: Mapping[str, str]  # all variables that are not secret
    secrets: Mapping[str, str] = field(repr=False)  # storage keys, and secrets of the service
    memory: int  # bytes
    cpu: float  # cores
    timeout: float  # seconds; 0 means none
    image: str = ""
    constant: Mapping[str, str] = field(default_factory=dict)  # variables in ``env`` that depend on the service only
    outputs: tuple[OutputPlace, ...] = ()  # where it may write, in the order of the service's outputs


class Launcher(Protocol):
    """Starts Jobs and reports how they ended. ``start`` is idempotent by Job name."""

    async def start(self, spec: JobSpec) -> None:
        """Start the Job, or adopt it if it already exists. Raises LaunchError if it cannot be started."""

    async def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Adopt Jobs of a former process. Returns those that exist, running or ended. Their completions follow.

        jobs: Job -> where it may have written, or () if unknown; for launchers that have only a record left.
        """

    async def cancel(self, job: str) -> None:
        """Cancel the Job. Its Completion (CANCELLED) follows. Unknown names are ignored."""

    def completions(self) -> AsyncIterator[Completion]:
        """Yield each ended Job, once per process of the invoker, until ``acknowledge``."""

    async def acknowledge(self, job: str) -> None:
        """Allow the removal of the Job's data, because the ledger has stored the completion."""

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        """Return the Job's log from an offset in bytes while the launcher still has it, else None."""

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Return why a started Job does not run yet, as (code, detail), or None. From memory, without a request."""

    def progress(self, job: str) -> str:
        """Return what a running Job waits for, e.g. a store that is down, or "". Called from threads."""

    async def collect(self, current: Mapping[str, str]) -> None:
        """Remove the data of service revisions that are neither in ``current`` nor needed by a Job."""

    def health(self) -> dict[str, Any]:
        """Return whether Jobs can be started and watched: ``{"ok": bool, "detail": str}``."""

    async def close(self) -> None:
        """Stop watching. Jobs continue."""


class LaunchError(Exception):
    """The launcher could not start a Job; counted as an infrastructure failure."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a log in chunks.

    Attributes:
        end: the offset after this part, or None if it is unknown before reading
    """

    chunks: Iterator[bytes]
    end: int | None
