# SPDX-License-Identifier: Apache-2.0
"""Waits for many jobs at the same time: one listing covers all of them, so their number costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oscar_fedcloud.cli.oscar.errors import TimedOut
from oscar_fedcloud.cli.oscar.jobview import ended
from oscar_fedcloud.cli.oscar.server import Server

SHORTEST = 0.2  # s between listings
LONGEST = 5.0  # s
SHARE = 20  # listings take at most one part in this many of the time
DOUBT = 5.0  # s without a job after which the server is asked why, and again after the same time
ASKED = 5  # objects that are asked about at a time
REFUSED = ("filtered", "too_deep", "bad_key", "no_service", "baseline")  # explanations after which no job will come

Json = Mapping[str, Any]
Name = tuple[str, ...]  # (job id) or (bucket, key, revision)


@dataclass(slots=True)
class Awaited:
    """A job to wait for, identified by its id, or by the revision of the object that starts it."""

    name: Name
    job: Json | None = None
    refusal: str = ""


@dataclass(slots=True)
class Follower:
    """Follows jobs of one service. ``since`` is the time of the newest earlier job, by the server's clock."""

    server: Server
    service: str
    since: str
    on_end: Callable[[Awaited], None]
    on_look: Callable[[Sequence[Awaited]], None] = lambda waiting: None
    _asked: float = field(default_factory=time.monotonic)

    def follow(self, awaited: Sequence[Awaited], timeout: float | None) -> None:
        """Wait until all have ended, or are known to start no job. Raises TimedOut."""
        end = None if timeout is None else time.monotonic() + timeout
        waiting = {each.name: each for each in awaited}
        while waiting:
            began = time.monotonic()
            self._look(waiting)
            self._doubt(waiting)
            self.on_look(list(waiting.values()))
            now = time.monotonic()
            if waiting and end is not None and now > end:
                raise TimedOut(f"{len(waiting)} of {len(awaited)} jobs have not ended after {timeout:g} s")
            if waiting:
                time.sleep(min(max((now - began) * SHARE, SHORTEST), LONGEST))

    def _look(self, waiting: dict[Name, Awaited]) -> None:
        found = list(self.server.jobs(service=self.service, since=self.since))
        for job in found:
            each = waiting.get(names(job)[0]) or waiting.get(names(job)[1])
            if each is None:
                continue
            each.job = job
            if ended(job):
                del waiting[each.name]
                self.on_end(each)

    def _doubt(self, waiting: dict[Name, Awaited]) -> None:
        """Ask about objects without a job: some start none."""
        now = time.monotonic()
        if now - self._asked < DOUBT:
            return
        self._asked = now
        for each in [each for each in waiting.values() if each.job is None and len(each.name) == 3][:ASKED]:
            answers = self.server.why(each.name[0], each.name[1], self.service)["answers"]
            if answers and answers[0]["answer"] in REFUSED:
                each.refusal = str(answers[0]["detail"] or answers[0]["answer"])
                del waiting[each.name]
                self.on_end(each)


def names(job: Json) -> tuple[Name, Name]:
    """Return the two names by which a job can be waited for."""
    return (str(job["id"]),), (str(job["bucket"]), str(job["key"]), str(job["revision"]))
