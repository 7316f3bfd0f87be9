# SPDX-License-Identifier: Apache-2.0
"""``oscar jobs --watch``: a table that is updated continuously, or a line for each change without a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from oscar_fedcloud.cli.oscar.app import App, colours, terminal_width
from oscar_fedcloud.cli.oscar.errors import Unreachable
from oscar_fedcloud.cli.oscar.jobview import columns, reason, row
from oscar_fedcloud.cli.oscar.text import Column, table

INTERVAL = 1.0  # s between refreshes
Json = dict[str, Any]


def watch_jobs(app: App, limit: int, filters: Mapping[str, Any]) -> None:
    """Show jobs until Ctrl-C."""
    if app.plain:
        _lines(app, limit, filters)
    else:
        _screen(app, limit, filters)


def _screen(app: App, limit: int, filters: Mapping[str, Any]) -> None:
    import sys

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, no_color=not colours(sys.stdout))
    with Live(console=console, auto_refresh=False) as live:
        while True:
            rows = max(1, console.size.height - 3)
            try:
                text = _table(list(app.server.jobs(min(limit, rows), **filters)), terminal_width(), colours(sys.stdout))
            except Unreachable as error:
                text = f"{error}\nAsking again ..."
            live.update(Text.from_ansi(text), refresh=True)
            time.sleep(INTERVAL)


def _table(jobs: list[Json], width: int, colour: bool) -> str:
    if not jobs:
        return "There are no such jobs yet. Ctrl-C ends this."
    now, reasons = time.time(), any(reason(job) for job in jobs)
    return table(columns(reasons), [row(job, now, reasons) for job in jobs], width, colour)


def _lines(app: App, limit: int, filters: Mapping[str, Any]) -> None:
    """Print each job, and again whenever its state or reason changes."""
    known: dict[str, tuple[str, str]] = {}
    first = True
    while True:
        for job in reversed(list(app.server.jobs(limit, **filters))):
            now = (str(job["state"]), reason(job))
            if known.get(str(job["id"])) != now:
                known[str(job["id"])] = now
                _print(app, job, first)
                first = False
        time.sleep(INTERVAL)


def _print(app: App, job: Json, first: bool) -> None:
    import json

    if app.format == "json":
        click.echo(json.dumps(job))
    elif app.format == "yaml":
        import yaml

        click.echo("---\n" + yaml.safe_dump(job, sort_keys=False), nl=False)
    elif app.format == "name":
        click.echo(job["id"])
    else:
        fixed = [Column(each.head.ljust(size)) for each, size in zip(columns(True), _WIDTHS, strict=True)]
        lines = table(fixed, [row(job, time.time(), True)], None, False).splitlines()
        click.echo("\n".join(lines if first else lines[1:]))


_WIDTHS = (18, 16, 10, 3, 32, 6)
