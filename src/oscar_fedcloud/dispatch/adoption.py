# SPDX-License-Identifier: Apache-2.0
"""Finds the Jobs of an earlier process, even if the launcher fails on some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from oscar_fedcloud.domain.runs import OutputPlace
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled, in_words, is_cancelled

log = structlog.get_logger(__name__)

_TRIES = 5  # attempts to adopt one Job before it counts as lost
_PAUSE, _PAUSE_MAX = 2.0, 60.0  # s between attempts


class Adoption:
    """Asks the launcher which Jobs exist."""

    def __init__(self, launcher: Launcher, troubles: Troubles) -> None:
        self.launcher = launcher
        self.troubles = troubles

    async def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> tuple[set[str], dict[str, str]]:
        """Return the Jobs that exist, and why each of the others counts as lost.

        If the launcher fails unexpectedly, each Job is looked up separately.

        Args:
            jobs: each Job with the places that it may have written to.
        """
        try:
            return set(await self.launcher.adopt(jobs)) & jobs.keys(), {}
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            report(
                log,
                "jobs cannot be adopted together, adopting them one by one",
                error,
            )
        lost: dict[str, str] = {}
        found = {job for job, places in jobs.items() if await self._one(job, places, lost)}
        return found, lost

    async def _one(self, job: str, places: tuple[OutputPlace, ...], lost: dict[str, str]) -> bool:
        """Return whether the Job exists; record it as lost if that cannot be determined."""
        what, pause, reason = f"adoption of job {job}", _PAUSE, ""
        for _ in range(_TRIES):
            try:
                found = job in await self.launcher.adopt({job: places})
                self.troubles.clear(what)
                return found
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                reason = f"the job could not be taken up after a restart: {in_words(error)}"
                self.troubles.note(what, error, pause)
                await asyncio.sleep(pause)
                pause = doubled(pause, _PAUSE_MAX)
        self.troubles.clear(what)
        lost[job] = reason
        return False
