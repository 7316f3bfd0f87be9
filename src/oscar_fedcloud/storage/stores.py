# SPDX-License-Identifier: Apache-2.0
"""The stores in use: those of the configuration, and those that services declare.

Each store has its own threads for requests, so that a hanging store delays only its own callers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

import structlog

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.runtime.threads import Threads
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.foreign import settings_of
from oscar_fedcloud.storage.ports import ObjectStore

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_SITE_THREADS = 16
_FOREIGN_THREADS = 4
_PATIENCE = 300.0  # s for one call; each request in it has limits of its own
_PROBE = 5.0  # s for a health check


class StoreCalls:
    """Runs calls to one store in its own threads, each with a time limit."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self._threads = Threads(size, f"store {name}")
        self._lock = threading.Lock()
        self._hanging = 0  # abandoned calls that still run

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of ``call``. Raises its errors, and StoreError if it or all calls take too long."""
        return await self.within(_PATIENCE, call, *args, **kwargs)

    async def within(self, seconds: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same with a time limit."""
        future = self._submit(lambda: call(*args, **kwargs))
        waiter = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([waiter], timeout=seconds)
            if not done:
                raise StoreError(f"storage provider {self.name} did not answer within {seconds:g} s")
            return waiter.result()
        finally:
            if not waiter.done():
                self._leave(future)
                waiter.cancel()

    def begin(self, call: Callable[[], T], seconds: float) -> Callable[[], T]:
        """Begin a call from any thread. Returns a function that waits for the result and raises like ``run``."""
        future = self._submit(call)
        end = time.monotonic() + seconds

        def result() -> T:
            try:
                return future.result(max(0.0, end - time.monotonic()))
            except TimeoutError as error:
                if future.done():
                    raise  # its own
                self._leave(future)
                raise StoreError(f"storage provider {self.name} did not answer within {seconds:g} s") from error

        return result

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        if self._hanging >= self._threads.size:
            raise StoreError(f"storage provider {self.name} does not answer: {self._hanging} calls to it hang")
        try:
            return self._threads.submit(call)
        except RuntimeError as error:
            raise StoreError(f"storage provider {self.name} is no longer used") from error

    def _leave(self, call: Future[Any]) -> None:
        """Abandon a call. It continues if it has begun."""
        if call.cancel():
            return
        with self._lock:
            self._hanging += 1
        call.add_done_callback(self._came_back)

    def _came_back(self, _: object) -> None:
        with self._lock:
            self._hanging -= 1

    def close(self) -> None:
        """Take no more calls."""
        self._threads.close()


class StoreRegistry(Mapping[str, ObjectStore]):
    """Stores by id: first the configured ones, which are fixed, then those of services. Belongs to the event loop."""

    def __init__(self, configured: Mapping[str, ObjectStore], site_store_id: str) -> None:
        self.configured = dict(configured)
        self.site_store = configured[site_store_id]  # holds logs and the bodies of requests
        self._all: dict[str, ObjectStore] = dict(configured)
        self._settings: dict[str, ProviderConfig] = {}  # of the stores that services declare
        self._calls = {name: StoreCalls(name, _SITE_THREADS) for name in configured}

    def __getitem__(self, name: str) -> ObjectStore:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def sync(self, services: Iterable[Service]) -> None:
        """Keep exactly the stores that these services declare and read from, with their current settings."""
        wanted = _wanted(services, self.configured)
        gone = self._settings.keys() - wanted.keys()
        for name in gone:
            self._drop(name)
        fresh = {name: settings for name, settings in wanted.items() if self._settings.get(name) != settings}
        # A new dictionary, because threads may iterate over the old one.
        self._all = {name: provider for name, provider in self._all.items() if name not in gone}
        for name, settings in fresh.items():
            self._put(name, settings)

    def _put(self, name: str, settings: ProviderConfig) -> None:
        from oscar_fedcloud.storage.registry import make_provider

        try:
            provider = make_provider(name, settings)
        except Exception as error:  # the catalogue may hold settings that an earlier version accepted
            log.error("a store of a service cannot be used", provider=name, error=str(error))
            self._drop(name)
            return
        if name in self._calls:
            self._calls[name].close()
        self._calls[name] = StoreCalls(name, _FOREIGN_THREADS)
        self._settings[name] = settings
        self._all = {**self._all, name: provider}

    def _drop(self, name: str) -> None:
        self._settings.pop(name, None)
        self._all = {other: provider for other, provider in self._all.items() if other != name}
        if calls := self._calls.pop(name, None):
            calls.close()

    async def run(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a call in one of the store's threads. Raises StoreError and the call's errors."""
        calls = self._calls.get(name)
        if calls is None:
            raise StoreError(f"storage provider {name} is no longer used by any service")
        return await calls.run(call, *args, **kwargs)

    async def chunks(self, name: str, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks of an object, each read in one of the store's threads."""
        while (chunk := await self.run(name, lambda: next(chunks, None))) is not None:
            yield chunk

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of each configured store as ``store <id>``, checked concurrently. Blocks.

        Stores of services are not part of the site: their health shows in the state of the service.
        """
        begun = [(name, self._begin_health(name, provider)) for name, provider in self.configured.items()]
        return {f"store {name}": result() for name, result in begun}

    def _begin_health(self, name: str, provider: ObjectStore) -> Callable[[], dict[str, Any]]:
        try:
            result = self._calls[name].begin(provider.health, _PROBE)
        except StoreError as error:
            found = {"ok": False, "detail": str(error)}
            return lambda: found

        def health() -> dict[str, Any]:
            try:
                return result()
            except StoreError as error:
                return {"ok": False, "detail": str(error)}

        return health

    def close(self) -> None:
        """Take no more calls."""
        for calls in self._calls.values():
            calls.close()


def _wanted(services: Iterable[Service], configured: Mapping[str, ObjectStore]) -> dict[str, ProviderConfig]:
    """Return the settings of the stores that services declare and read from. The first service of a store decides."""
    found: dict[str, ProviderConfig] = {}
    for service in services:
        for source in service.input:
            name = source.storage_provider
            if name not in configured and name not in found and (settings := settings_of(service, name)):
                found[name] = settings
    return found
