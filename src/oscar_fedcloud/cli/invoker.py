# SPDX-License-Identifier: Apache-2.0
"""``oscar-invoker``: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import structlog

from oscar_fedcloud import __version__
from oscar_fedcloud.catalogue.entries import RepositoryError
from oscar_fedcloud.cli.streams import guard
from oscar_fedcloud.config import Config, ConfigError, load
from oscar_fedcloud.daemon.process import (
    address_family,
    end_threads,
    lock_data,
    notify_ready,
    notify_systemd,
    set_up_logging,
    tell_watchdog,
)
from oscar_fedcloud.daemon.wishes import wish_for
from oscar_fedcloud.ledger.errors import LedgerError
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words

NEW_LEDGER = "if the ledger was lost: begin a new one, for which what is in the inputs now counts as processed"
_THREADS_END = 3.0  # s that calls under way get to end
_THREADS = 16  # for requests of the API and for the ledger; stores have their own


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until it is told to stop. Exit codes: 0 stopped, 1 cannot run, 2 bad configuration."""
    return guard("oscar-invoker", lambda: _main(argv))


def _main(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="oscar-invoker", description="Turns storage events into jobs.")
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration, YAML")
    parser.add_argument("--validate-config", action="store_true", help="check the configuration and exit")
    parser.add_argument("--new-ledger", action="store_true", help=NEW_LEDGER)
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(argv)
    try:
        config = load(options.config)
    except ConfigError as error:
        print(f"oscar-invoker: {error}", file=sys.stderr)
        return 2
    if options.validate_config:
        return 0
    set_up_logging(options.log_level)
    try:
        lock = lock_data(config.data, "invoker.lock")
    except BlockingIOError:
        print(f"oscar-invoker: another invoker runs on {config.data_dir}", file=sys.stderr)
        return 1
    with lock:
        if options.new_ledger:
            wish_for(config.data)
        return run(config)


def run(config: Config) -> int:
    """Put the parts together and serve."""
    import uvloop  # here: not needed to check a configuration

    try:
        uvloop.run(_serve(config))
    except (OSError, LedgerError, ConfigError, RepositoryError) as error:
        print(f"oscar-invoker: cannot run: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # whatever it is, the log has where it comes from, and its reader one sentence
        report(structlog.get_logger(__name__), "the daemon failed", error)
        print(f"oscar-invoker: cannot run: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config) -> None:
    """Serve until a signal comes."""
    import uvicorn

    from oscar_fedcloud.api.app import create_app, limits_of
    from oscar_fedcloud.daemon.assembly import build_hooks, build_invoker
    from oscar_fedcloud.server.limits import server_options

    threads = ThreadPoolExecutor(_THREADS, "work")
    asyncio.get_running_loop().set_default_executor(threads)
    invoker = build_invoker(config)
    alive = asyncio.create_task(tell_watchdog(), name="watchdog")
    try:  # a start that is refused, too, closes the ledger: a file that is left open may spoil its restore
        hooks = build_hooks(invoker)
        with socket.create_server(
            (config.host, config.port), family=address_family(config.host), backlog=2048
        ) as listener:
            server = uvicorn.Server(
                uvicorn.Config(
                    create_app(invoker, hooks),
                    **server_options(limits_of(config), hooks),
                    loop="none",
                    lifespan="off",
                    proxy_headers=False,
                    access_log=False,
                    log_config=None,
                    timeout_graceful_shutdown=10,
                )
            )
            await invoker.start()
            notify_ready()  # the socket listens already: who connects now waits for a moment
            structlog.get_logger(__name__).info("listening", address=config.listen, version=__version__)
            await server.serve(sockets=[listener])
    finally:
        alive.cancel()
        notify_systemd("STOPPING=1")
        await invoker.stop()
    if not end_threads(threads, _THREADS_END):
        structlog.get_logger(__name__).error("calls to the ledger or a disk hang, they are left behind")
        os._exit(0)  # the interpreter would wait for them


if __name__ == "__main__":
    sys.exit(main())
