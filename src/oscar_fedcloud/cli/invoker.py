# SPDX-License-Identifier: Apache-2.0
"""``oscar-invoker``: the daemon."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from oscar_fedcloud import __version__
from oscar_fedcloud.catalogue.entries import RepositoryError
from oscar_fedcloud.cli.streams import guard
from oscar_fedcloud.config import Config, ConfigError, load
from oscar_fedcloud.daemon import program
from oscar_fedcloud.daemon.program import Program, Service
from oscar_fedcloud.daemon.wishes import wish_for
from oscar_fedcloud.ledger.errors import LedgerError

NEW_LEDGER = "if the ledger was lost: begin a new one, for which what is in the inputs now counts as processed"


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until it is told to stop. Exit codes: 0 stopped, 1 cannot run, 2 bad configuration."""
    return guard("oscar-invoker", lambda: _main(argv))


def _main(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="oscar-invoker", description="Turns storage events into jobs.")
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration, YAML")
    parser.add_argument("--validate-config", action="store_true", help="check the configuration and exit")
    parser.add_argument("--new-ledger", action="store_true", help=NEW_LEDGER)
    parser.add_argument("--log-level", default="info", choices=program.LOG_LEVELS)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(argv)
    try:
        config = load(options.config)
    except ConfigError as error:
        print(f"oscar-invoker: {error}", file=sys.stderr)
        return 2
    if options.validate_config:
        return 0
    return program.main(make_program(config, new_ledger=options.new_ledger), options.log_level)


def make_program(config: Config, *, new_ledger: bool = False) -> Program:
    """Return the invoker of a configuration as a program."""
    return Program(
        name="oscar-invoker",
        data=config.data,
        host=config.host,
        port=config.port,
        open=partial(_open, config, new_ledger),
        failures=(OSError, LedgerError, ConfigError, RepositoryError),
    )


@asynccontextmanager
async def _open(config: Config, new_ledger: bool) -> AsyncIterator[Service]:
    """Put the parts together; stop them at the end."""
    from oscar_fedcloud.api.app import create_app, limits_of
    from oscar_fedcloud.daemon.assembly import build_hooks, build_invoker
    from oscar_fedcloud.server.limits import server_options

    if new_ledger:
        wish_for(config.data)
    invoker = build_invoker(config)
    try:  # a start that is refused, too, closes the ledger: a file that is left open may spoil its restore
        hooks = build_hooks(invoker)
        options = server_options(limits_of(config), hooks)
        yield Service(create_app(invoker, hooks), invoker.start, options)
    finally:
        await invoker.stop()


if __name__ == "__main__":
    sys.exit(main())
