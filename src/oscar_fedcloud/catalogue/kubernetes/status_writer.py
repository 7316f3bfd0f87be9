# SPDX-License-Identifier: Apache-2.0
"""Writes the state of services to their objects soon after a change. Changes in quick succession are one write."""

from __future__ import annotations

import asyncio

import structlog

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.kubernetes.service_objects import ServiceObjects
from oscar_fedcloud.kube import KubeError
from oscar_fedcloud.runtime.unexpected import report

log = structlog.get_logger(__name__)

_AT_ONCE = 16
_PAUSE = 2.0  # s until a write that failed is repeated


class StatusWriter:
    """``report`` may be called from any thread."""

    def __init__(self, objects: ServiceObjects, catalogue: Catalogue) -> None:
        self.objects = objects
        self.catalogue = catalogue
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._names: set[str] = set()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def report(self, name: str) -> None:
        """Write the changed state of a service soon."""
        self._loop.call_soon_threadsafe(self._add, name)

    def _add(self, name: str) -> None:
        self._names.add(name)
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            names, self._names = self._names, set()
            failed = {name for name in await asyncio.gather(*(self._write(name) for name in names)) if name}
            if failed:
                await asyncio.sleep(_PAUSE)
                self._names |= failed
                self._wake.set()

    async def _write(self, name: str) -> str:
        """Write the state of one service; return its name if that failed."""
        async with self._places:
            entry, refused = self.catalogue.entries.get(name), self.catalogue.rejected.get(name, "")
            if entry is None:
                return ""
            state, reason = self.catalogue.states[name]
            try:
                await self.objects.report(name, entry, state, reason, refused)
            except KubeError as error:
                log.warning("the status of a service was not written", service=name, error=str(error))
                return name
            except Exception as error:  # affects this service only
                report(log, "the status of a service was not written", error, service=name)
                return name
        return ""
