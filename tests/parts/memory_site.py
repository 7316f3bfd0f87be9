# SPDX-License-Identifier: Apache-2.0
"""The real daemon between parts in memory, on virtual time: any call that leaves it can be held, fail or lie.

Stores, launcher and receiver of callbacks are imitations; ledger and catalogue are the real ones in a temporary
folder. All of them stand behind ``Gates``. A daemon that stops can be followed by another life on the same parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar
from unittest import mock

from parts.virtual_time import VirtualLoop, run_virtually

from oscar_fedcloud.catalogue.folder_repository import FolderRepository
from oscar_fedcloud.config import Config, LauncherConfig, ProviderConfig
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, RunState
from oscar_fedcloud.domain.services import Change
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service, from_document
from oscar_fedcloud.launchers.port import JobSpec, LogPart
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.runtime.threads import Threads
from oscar_fedcloud.storage.registry import check_keys

T = TypeVar("T")
Kind = Literal["before", "after", "hang", "garbage"]
SITE, POLLED = "minio.default", "s3.polled"
_PATIENCE = 60.0  # real s that a thread is held at most


class Unexpected(Exception):
    """What no caller can have provided for."""


class Garbage:
    """What no caller can use."""


@dataclass
class Fault:
    """What happens to calls of one name.

    times: how often, None = until it is lifted. match: of which arguments. error: what is raised, of the call's name.
    """

    kind: Kind
    times: int | None = None
    match: Callable[..., bool] = lambda *args, **kwargs: True
    error: Callable[[str], Exception] = Unexpected
    hits: int = 0
    lifted: threading.Event = field(default_factory=threading.Event)


class Gates:
    """Stand before all calls that leave the daemon, by name: ``store.list``, ``launcher.start`` …"""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.calls: Counter[str] = Counter()
        self.on_loop: set[str] = set()  # names of calls that were made on the event loop
        self.faults: dict[str, Fault] = {}

    def set(self, name: str, kind: Kind, times: int | None = None, **match: Any) -> Fault:
        """Let calls of this name fail from now on."""
        self.faults[name] = Fault(kind, times, **match)
        return self.faults[name]

    def lift(self) -> None:
        """Let everything work again, and what hangs go on."""
        for fault in self.faults.values():
            fault.lifted.set()
        self.faults = {}

    def hit(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Fault | None:
        """Count a call; the fault that concerns it."""
        self.calls[name] += 1
        if threading.current_thread() is threading.main_thread():
            self.on_loop.add(name)
        fault = self.faults.get(name)
        if fault is None or not fault.match(*args, **kwargs) or (fault.times is not None and fault.hits >= fault.times):
            return None
        fault.hits += 1
        return fault

    def hold(self, fault: Fault) -> None:
        """Hold the thread of a call until the fault is lifted."""
        if threading.current_thread() is threading.main_thread():
            raise Unexpected("a call on the event loop cannot be held: nothing could lift it")
        self.loop.count(-1)
        fault.lifted.wait(_PATIENCE)
        self.loop.count(1)

    async def hold_task(self, fault: Fault) -> None:
        """Hold a task until the fault is lifted."""
        while not fault.lifted.is_set():  # noqa: ASYNC110  the event is one of threads
            await asyncio.sleep(0.5)


class Gated:
    """A part behind gates: its public methods are called through them, all else is its own."""

    def __init__(self, part: Any, name: str, gates: Gates) -> None:
        object.__setattr__(self, "_gated", (part, name, gates))

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._gated[0], attribute, value)

    def __getattr__(self, attribute: str) -> Any:
        part, name, gates = object.__getattribute__(self, "_gated")
        found = getattr(part, attribute)
        if attribute.startswith("_") or not inspect.isroutine(found):
            return found
        gate = f"{name}.{attribute}"
        if inspect.isasyncgenfunction(inspect.unwrap(found)) and found is not inspect.unwrap(found):
            return lambda *args, **kwargs: _gated_context(gates, gate, found, args, kwargs)
        if inspect.isasyncgenfunction(found):
            return lambda *args, **kwargs: _gated_stream(gates, gate, found, args, kwargs)
        if inspect.iscoroutinefunction(found):
            return lambda *args, **kwargs: _gated_task(gates, gate, found, args, kwargs)
        return lambda *args, **kwargs: _gated_call(gates, gate, found, args, kwargs)


def _gated_call(gates: Gates, name: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    fault = gates.hit(name, args, kwargs)
    if fault is None:
        return _settled(gates, call(*args, **kwargs))
    if fault.kind == "before":
        for work in filter(inspect.iscoroutine, args):
            work.close()
        raise fault.error(name)
    if fault.kind == "hang":
        gates.hold(fault)
        return call(*args, **kwargs)
    result = _settled(gates, call(*args, **kwargs))
    if fault.kind == "after":
        raise fault.error(name)
    del result
    return Garbage()


def _settled(gates: Gates, result: Any) -> Any:
    """Time waits for what the ledger's thread is to settle."""
    if isinstance(result, asyncio.Future):
        gates.loop.count(1)
        result.add_done_callback(lambda _: gates.loop.count(-1))
    return result


async def _gated_task(gates: Gates, name: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    fault = gates.hit(name, args, kwargs)
    if fault is None:
        return await _in_real_time(gates, name, call(*args, **kwargs))
    if fault.kind == "before":
        raise fault.error(name)
    if fault.kind == "hang":
        await gates.hold_task(fault)
        return await _in_real_time(gates, name, call(*args, **kwargs))
    await _in_real_time(gates, name, call(*args, **kwargs))
    if fault.kind == "after":
        raise fault.error(name)
    return Garbage()


async def _in_real_time(gates: Gates, name: str, work: Coroutine[Any, Any, T]) -> T:
    """Await a call. Time waits for one of the ledger, which its thread settles."""
    if not name.startswith("ledger."):
        return await work
    gates.loop.count(1)
    try:
        return await work
    finally:
        gates.loop.count(-1)


async def _gated_stream(
    gates: Gates, name: str, call: Callable[..., Any], args: Any, kwargs: Any
) -> AsyncIterator[Any]:
    async for item in call(*args, **kwargs):
        fault = gates.hit(name, args, kwargs)
        if fault is None:
            yield item
            continue
        if fault.kind in ("before", "after"):
            raise fault.error(name)
        if fault.kind == "hang":
            await gates.hold_task(fault)
            yield item
        else:
            yield Garbage()
            yield item


@contextlib.asynccontextmanager
async def _gated_context(
    gates: Gates, name: str, call: Callable[..., Any], args: Any, kwargs: Any
) -> AsyncIterator[Any]:
    fault = gates.hit(name, args, kwargs)
    if fault is not None and fault.kind == "before":
        raise fault.error(name)
    if fault is not None and fault.kind == "hang":
        await gates.hold_task(fault)
    async with call(*args, **kwargs) as value:
        if fault is not None and fault.kind == "after":
            raise fault.error(name)
        yield Garbage() if fault is not None and fault.kind == "garbage" else value


class MemoryStore:
    """Buckets, objects, rules and keys in memory. Blocking, as all stores are."""

    def __init__(self, name: str, clock: Callable[[], float], *, polled: bool) -> None:
        self.id = name
        self.settle = 1
        self.polled = polled
        self.now = clock
        self.objects: dict[tuple[str, str], tuple[StorageEvent, bytes]] = {}
        self.rules: dict[str, list[str]] = {}
        self.keys: dict[str, Credential] = {}

    def upload(self, bucket: str, key: str, body: bytes = b"x") -> StorageEvent:
        """What a user does."""
        return self.put(bucket, key, body)

    def parse(self, body: bytes, via: Origin = Origin.DURABLE) -> list[StorageEvent]:
        return []

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        keys = sorted(key for bucket, key in self.objects if bucket == where.bucket and key.startswith(where.prefix))
        return [self.objects[where.bucket, key][0] for key in keys if key > after]

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        found = self.objects.get((bucket, key))
        return found[0] if found else None

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        order = int(self.now() * 1e9)
        event = StorageEvent(self.id, bucket, key, f"{order // 1_000_000}-{len(body)}", order, size=len(body))
        self.objects[bucket, key] = event, body
        return event

    def put_old(self, bucket: str, key: str) -> None:
        """Leave an object that was written long ago."""
        self.objects[bucket, key] = StorageEvent(self.id, bucket, key, "old", 1, size=1), b"x"

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        return self.put(bucket, key, file.read(size), depth)

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        found = self.objects.get((bucket, key))
        return iter([found[1]]) if found else None

    def why(self, bucket: str, key: str) -> str:
        return ""

    def key_problem(self) -> str:
        return ""

    def remove(self, bucket: str, key: str) -> bool:
        return self.objects.pop((bucket, key), None) is not None

    def older(self, bucket: str, before: float) -> Iterable[str]:
        return [
            key for (name, key), (event, _) in self.objects.items() if name == bucket and event.order < before * 1e9
        ]

    def remove_many(self, bucket: str, keys: Sequence[str]) -> int:
        return sum(self.remove(bucket, key) for key in keys)

    def settled(self, event: StorageEvent) -> bool:
        return True

    def buckets(self) -> Sequence[str]:
        return sorted(self.rules)

    def ensure_bucket(self, bucket: str) -> bool:
        return self.rules.setdefault(bucket, []) is None

    def delete_bucket(self, bucket: str, data: bool) -> None:
        self.rules.pop(bucket, None)

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        before, self.rules[bucket] = self.rules.get(bucket), sorted(prefixes)
        return before != self.rules[bucket]

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        return self.keys.setdefault(service.name, known or Credential(f"{self.id}-{service.name}", "secret"))

    def drop_credential(self, known: Credential) -> None:
        self.keys = {name: key for name, key in self.keys.items() if key != known}

    def rclone_env(self, remote: str, credential: Credential | None) -> dict[str, str]:
        return {f"RCLONE_CONFIG_{remote}_TYPE": "memory"}

    def clock(self) -> float:
        return self.now()

    def health(self) -> dict[str, Any]:
        return {"ok": True, "detail": ""}


class MemoryLauncher:
    """Jobs that live for ``length`` s (None: until ``end``) and end as ``ends`` says by service."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self.length: float | None = 1.0
        self.ends: dict[str, AttemptState] = {}
        self.specs: dict[str, JobSpec] = {}  # of all that ever began
        self.begun: Counter[str] = Counter()  # run -> how often its script began
        self.ended: dict[str, Completion] = {}  # until acknowledged
        self.live: set[str] = set()
        self._told: asyncio.Queue[Completion] = asyncio.Queue()

    async def start(self, spec: JobSpec) -> None:
        if spec.job in self.live or spec.job in self.ended:
            return
        self.specs[spec.job] = spec
        self.begun[spec.run.id] += 1
        self.live.add(spec.job)
        if self.length is not None:
            state = self.ends.get(spec.service.name, AttemptState.SUCCEEDED)
            asyncio.get_running_loop().call_later(self.length, self.end, spec.job, state)

    def end(self, job: str, state: AttemptState = AttemptState.SUCCEEDED, **more: Any) -> None:
        """Let a Job end."""
        if job in self.live:
            self.live.remove(job)
            code = {AttemptState.SUCCEEDED: 0, AttemptState.FAILED: 1}.get(state)
            more.setdefault("reason", "" if state is AttemptState.SUCCEEDED else f"the script {state.value}")
            self.ended[job] = Completion(job, state, code, finished=self.now(), **more)
            self._told.put_nowait(self.ended[job])

    async def adopt(self, jobs: Iterable[str]) -> set[str]:
        return {job for job in jobs if job in self.live or job in self.ended}

    async def cancel(self, job: str) -> None:
        self.end(job, AttemptState.CANCELLED)

    async def completions(self) -> AsyncIterator[Completion]:
        self._told = asyncio.Queue()
        for completion in self.ended.values():
            self._told.put_nowait(completion)
        while True:
            yield await self._told.get()

    async def acknowledge(self, job: str) -> None:
        self.ended.pop(job, None)

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        return LogPart(iter([b"log\n"[offset:]]), 4) if job in self.specs else None

    def waiting(self, job: str) -> tuple[str, str] | None:
        return None

    def progress(self, job: str) -> str:
        return ""

    async def collect(self, current: Mapping[str, str]) -> None:
        """Nothing is kept."""

    def health(self) -> dict[str, Any]:
        return {"ok": True, "detail": ""}

    async def close(self) -> None:
        """Nothing is open."""


class MemoryReceiver:
    """Takes callbacks in place of the HTTP client, all but the first."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        self.taken.append((url, body))
        return "" if len(self.taken) > 1 else "503 Service Unavailable"

    async def close(self) -> None:
        """Nothing is open."""


class Site:
    """All parts, and the daemon of the moment. The parts' own state is looked at beside the gates."""

    def __init__(self, folder: Path, loop: VirtualLoop, max_running: int = 8, **config: Any) -> None:
        self.folder, self.loop, self.gates = folder, loop, Gates(loop)
        self.launcher = MemoryLauncher(loop.wall)
        self.store = MemoryStore(SITE, loop.wall, polled=False)
        self.polled = MemoryStore(POLLED, loop.wall, polled=True)
        self.receiver = MemoryReceiver()
        self.config = Config(
            data_dir=str(folder),
            admin_password="secret",
            providers={name: ProviderConfig(type="s3", endpoint="http://127.0.0.1:9") for name in (SITE, POLLED)},
            launcher=LauncherConfig(max_running=max_running),
            **config,
        )
        self.invoker: Invoker
        self.begun = False  # whether a daemon was put together, so that there is one to stop

    async def start(self) -> Invoker:
        """Begin a life of the daemon."""
        self.begun = False
        stores: dict[str, Any] = {
            SITE: Gated(self.store, "store", self.gates),
            POLLED: Gated(self.polled, "store", self.gates),
        }
        check_keys(stores)
        ledger_kind: Any = Gated(Ledger, "ledger", self.gates)
        ledger: Any = Gated(ledger_kind.open(self.config.ledger_url), "ledger", self.gates)
        launcher: Any = Gated(self.make_launcher(), "launcher", self.gates)
        repository: Any = Gated(FolderRepository(self.folder / "services"), "catalogue", self.gates)
        self.invoker = Invoker(self.config, ledger, stores, launcher, repository)
        poster: Any = Gated(self.receiver, "receiver", self.gates)
        self.invoker.callbacks.poster = poster
        self.begun = True
        await self.invoker.start()
        return self.invoker

    def make_launcher(self) -> Any:
        """The launcher of the next life."""
        return self.launcher

    async def stop(self) -> None:
        """End this life; Jobs go on."""
        await self.invoker.stop()

    async def restart(self) -> Invoker:
        """End this life and begin another."""
        await self.stop()
        return await self.start()

    async def declare(self, name: str, provider: str = SITE, **more: Any) -> None:
        """Declare a service that reads ``<name>/in`` and writes ``<name>/out``."""
        await self.invoker.changes.apply(Change(documents=(service(name, provider, **more),)))

    async def deliver(self, event: StorageEvent) -> None:
        """Tell of an event until it is acknowledged, as the store's queue does."""
        while True:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(10):
                    await self.invoker.intake.record([event])
                    return
            await asyncio.sleep(5)

    async def upload(self, name: str, key: str, provider: str = SITE, body: bytes = b"x") -> StorageEvent:
        """Upload a file for a service; the site's own store tells of it at once."""
        store = self.polled if provider == POLLED else self.store
        event = store.upload(name, f"in/{key}", body)
        if provider == SITE:
            await self.invoker.intake.record([event])
        return event

    def runs(self, **more: Any) -> list[Any]:
        """The ledger's runs, past the gates."""
        return self._ledger.runs(**more)

    @property
    def _ledger(self) -> Ledger:
        found: Ledger = self.invoker.ledger._gated[0]  # type: ignore[attr-defined]
        return found

    def states(self, service: str) -> list[str]:
        """The states of a service's runs, sorted."""
        return sorted(run.state.value for run in self.runs(service=service))

    async def until(self, probe: Callable[[], Any], seconds: float = 600.0) -> Any:
        """Wait (in virtual time) until the probe is true."""
        end = self.loop.time() + seconds
        while not (found := probe()):
            assert self.loop.time() < end, (
                f"it does not happen within {seconds:g} s: {inspect.getsource(probe).strip()}"
            )
            await asyncio.sleep(0.5)
        return found

    async def ready(self, name: str) -> None:
        """Wait until a service is ready."""
        await self.until(lambda: (found := self.invoker.catalogue.declared(name)) and found.state == "ready")

    def check_slots(self) -> None:
        """No slot is lost: as many Jobs are counted as live."""
        running = {attempt.job for _, attempt in self._ledger.running()}
        assert self.invoker.dispatcher.running.total() == len(self.launcher.live), (running, self.launcher.live)
        assert running == self.launcher.live

    async def quiet(self, seconds: float = 900.0) -> None:
        """Wait until no run waits or runs any more."""
        alive = [RunState.QUEUED, RunState.RUNNING]
        await self.until(lambda: not self.runs(states=alive) and not self.invoker.dispatcher.running.total(), seconds)


def service(name: str, provider: str = SITE, **more: Any) -> Service:
    """A service that reads ``<name>/in`` and writes ``<name>/out``."""
    document = {
        "name": name,
        "image": "none",
        "script": "#!/bin/sh\n",
        "memory": "64Mi",
        "cpu": "0.1",
        "input": [{"storage_provider": provider, "path": f"{name}/in"}],
        "output": [{"storage_provider": provider, "path": f"{name}/out"}],
        **more,
    }
    return from_document(document)


def on_memory_site(
    folder: Path, story: Callable[[Any], Coroutine[Any, Any, T]], kind: type[Site] = Site, **options: Any
) -> T:
    """Tell a story of a site on virtual time: a daemon is started before, and stopped after."""

    async def life(loop: VirtualLoop) -> T:
        site = kind(folder, loop, **options)
        with _counted_threads(loop):
            await site.start()
            try:
                return await story(site)
            finally:
                site.gates.lift()
                await site.stop()

    return run_virtually(life)


@contextlib.contextmanager
def _counted_threads(loop: VirtualLoop) -> Iterator[None]:
    """Let time wait for the threads of stores as well."""
    submit = Threads.submit

    def counted(pool: Threads, call: Callable[[], T]) -> Future[T]:
        future = submit(pool, call)
        loop.count(1)
        future.add_done_callback(lambda _: loop.count(-1))
        return future

    with mock.patch.object(Threads, "submit", counted):
        yield
