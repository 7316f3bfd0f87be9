# SPDX-License-Identifier: Apache-2.0
"""What the programs of all daemons share, from taking the data folder to the exit code.

A ``Program`` says what differs: where its data are, where it listens, and how its parts are put together.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from oscar_fedcloud import __version__
from oscar_fedcloud.config import ConfigError
from oscar_fedcloud.daemon.process import (
    address_family,
    end_threads,
    lock_data,
    notify_systemd,
    set_up_logging,
    tell_watchdog,
)
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words

log = structlog.get_logger(__name__)

LOG_LEVELS = ("debug", "info", "warning", "error")
_BACKLOG = 2048  # connections that wait to be accepted
_THREADS = 16  # for requests of the API, the ledger and files; stores have their own
_THREADS_END = 3.0  # s that calls under way get to end
_GARBAGE = 50_000  # new objects after which garbage is looked for


@dataclass(frozen=True)
class Service:
    """The parts of a daemon, put together.

    Attributes:
        app: The ASGI application.
        start: Begins the work, once the socket listens.
        server_options: More settings of ``uvicorn.Config``.
        reload: Takes up a changed configuration, at SIGHUP.
        settled: Returns when what is read at the start is in memory, where that comes after the start.
    """

    app: Callable[..., Awaitable[None]]
    start: Callable[[], Awaitable[None]]
    server_options: Mapping[str, Any] = field(default_factory=dict)
    reload: Callable[[], Awaitable[Any]] | None = None
    settled: Callable[[], Awaitable[Any]] | None = None


@dataclass(frozen=True)
class Program:
    """One daemon as a program.

    Attributes:
        name: What its messages begin with.
        data: Its data folder, which one process holds.
        host: The address to listen on.
        port: The port to listen on.
        open: Puts the parts together, and stops them at its end, also after a start that failed.
        failures: Errors of a start that one sentence explains.
    """

    name: str
    data: Path
    host: str
    port: int
    open: Callable[[], AbstractAsyncContextManager[Service]]
    failures: tuple[type[Exception], ...]


def main(program: Program, log_level: str) -> int:
    """Hold the data folder and run the daemon until it is told to stop; return the exit code."""
    set_up_logging(log_level)
    kind = program.name.removeprefix("oscar-")
    try:
        lock = lock_data(program.data, f"{kind}.lock")
    except BlockingIOError:
        print(f"{program.name}: another {kind} runs on {program.data}", file=sys.stderr)
        return 1
    with lock:
        return run(program)


def run(program: Program) -> int:
    """Run the daemon. Exit codes: 0 stopped, 1 cannot run.

    Raises ConfigError unless it is one of ``failures``, and ModuleNotFoundError.
    """
    import uvloop  # here: not needed to check a configuration

    # A start makes hundreds of thousands of objects that stay. To look for garbage among them costs a tenth of it.
    gc.set_threshold(_GARBAGE, 10, 10)
    try:
        uvloop.run(_live(program))
    except program.failures as error:
        print(f"{program.name}: cannot run: {error}", file=sys.stderr)
        return 1
    except (ConfigError, ModuleNotFoundError):  # of the configuration, and of how it was installed
        raise
    except Exception as error:  # whatever it is, the log has where it comes from, and its reader one sentence
        report(log, "the daemon failed", error)
        print(f"{program.name}: cannot run: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


async def _live(program: Program) -> None:
    """Live until a signal comes. Threads that hang after the stop are left behind."""
    threads = ThreadPoolExecutor(_THREADS, "work")
    asyncio.get_running_loop().set_default_executor(threads)
    alive = asyncio.create_task(tell_watchdog(), name="watchdog")
    try:
        async with program.open() as service:
            try:
                await _serve(program, service)
            finally:
                notify_systemd("STOPPING=1")
    finally:
        alive.cancel()
    if not end_threads(threads, _THREADS_END):
        log.error("calls to the ledger or a disk hang, they are left behind")
        os._exit(0)  # the interpreter would wait for them


async def _serve(program: Program, service: Service) -> None:
    from oscar_fedcloud.daemon.serving import Server  # here: not needed to check a configuration

    address = (program.host, program.port)
    with socket.create_server(address, family=address_family(program.host), backlog=_BACKLOG) as listener:
        server = Server(service.app, service.server_options, service.reload)
        await service.start()
        settling = asyncio.create_task(_keep(service), name="settle")
        server.listen_to_signals()
        notify_systemd("READY=1")  # the socket listens already: who connects now waits for a moment
        log.info("listening", address=f"{program.host}:{program.port}", version=__version__)
        try:
            await server.serve(sockets=[listener])
        finally:
            settling.cancel()


async def _keep(service: Service) -> None:
    """Look no more for garbage among what was read at the start: it stays."""
    if service.settled:
        await service.settled()
    gc.freeze()
