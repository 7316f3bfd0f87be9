# SPDX-License-Identifier: Apache-2.0
"""What our daemons share: how they log, talk to the service manager and hold their data folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import sys
import threading
from concurrent.futures import Executor
from pathlib import Path
from typing import IO

import structlog


def set_up_logging(level: str) -> None:
    """One line of JSON per event on standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)
    # every repeat would be a line; we report what fails in the end
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def lock_data(folder: Path, name: str) -> IO[str]:
    """Hold the data folder for this process alone, by a lock file of this name. Raises BlockingIOError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = open(folder / name, "a", encoding="ascii")  # noqa: SIM115  held while the daemon lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


def address_family(host: str) -> socket.AddressFamily:
    """Whether an address to listen on is one of IPv6."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def tell_watchdog() -> None:
    """Tell the service manager's watchdog, twice in its time, that the event loop goes round; until cancelled."""
    interval = int(os.environ.get("WATCHDOG_USEC") or 0) / 2e6
    while interval:
        with contextlib.suppress(OSError):  # the service manager itself starts anew; it will be there next time
            notify_systemd("WATCHDOG=1")
        await asyncio.sleep(interval)


def notify_systemd(message: str) -> None:
    """Tell the service manager, if one started us (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)


def end_threads(pool: Executor, seconds: float) -> bool:
    """End a pool of threads; False if some of them still work after so long."""
    ending = threading.Thread(target=lambda: pool.shutdown(wait=True, cancel_futures=True), daemon=True)
    ending.start()
    ending.join(seconds)
    return not ending.is_alive()
