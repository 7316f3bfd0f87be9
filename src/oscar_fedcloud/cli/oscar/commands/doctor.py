# SPDX-License-Identifier: Apache-2.0
"""``oscar doctor``: one line for each possible problem, with the remedy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import click

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.oscar.app import App, formatted, on_server, pass_app
from oscar_fedcloud.cli.oscar.errors import CommandError, Denied
from oscar_fedcloud.cli.oscar.text import paint, printable

if TYPE_CHECKING:
    from oscar_fedcloud.cli.oscar.contexts import Context
    from oscar_fedcloud.cli.oscar.server import Server

SKEW = 60.0  # s by which clocks may differ; S3 signatures fail at 15 min


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: ``ok``, ``warn`` or ``fail``, and the remedy."""

    check: str
    state: str
    detail: str
    remedy: str = ""


@click.command("doctor")
@formatted
@on_server
@pass_app
def doctor_command(app: App) -> int:
    """Find out why something does not work."""
    found = []
    for finding in examine(app):
        found.append(finding)
        if app.format == "table":
            _print(app, finding)
    if app.format == "name":
        for finding in found:
            click.echo(finding.check) if finding.state != "ok" else None
    elif app.format != "table":
        app.document([asdict(finding) for finding in found])
    return int(any(finding.state == "fail" for finding in found))


def _print(app: App, finding: Finding) -> None:
    state = finding.state.ljust(4)
    shown = state if app.plain else paint(finding.state) + " " * (4 - len(finding.state))
    click.echo(f"{shown}  {finding.check:12} {printable(finding.detail)}")
    if finding.remedy:
        click.echo(f"{'':18} -> {printable(finding.remedy)}")


def examine(app: App) -> Iterator[Finding]:
    """Yield the findings in order; checks that depend on a failed one are skipped."""
    from oscar_fedcloud.cli.oscar.contexts import choose

    try:
        context = choose(app.context)
    except CommandError as error:
        yield Finding("context", "fail", str(error), "add a server with `oscar context add NAME ENDPOINT`")
        return
    yield Finding("context", "ok", f"{context.name}: {context.endpoint} (from {context.source})")
    yield from _config(context)
    yield _proxy(context)
    try:
        server = app.server
    except Denied as error:
        yield Finding("credentials", "fail", str(error), "give the password again with `oscar context add`")
        return
    except CommandError as error:
        yield Finding("endpoint", "fail", str(error), _way(context))
        return
    yield Finding("endpoint", "ok", f"{server.kind} answers")
    yield from _of(server)


def _config(context: Context) -> Iterator[Finding]:
    from oscar_fedcloud.cli.oscar.contexts import config_file

    if not context.verify and context.endpoint.startswith("https:"):
        remedy = "give the certificate authority with --ca-file instead of --insecure"
        yield Finding("certificate", "warn", "the server's certificate is not checked", remedy)
    try:
        file = config_file()
        open_to_others = bool(file.stat().st_mode & 0o077)
    except (OSError, CommandError):
        return
    if open_to_others:
        yield Finding("config", "warn", f"others can read {file}", f"chmod 600 {file}")


def _proxy(context: Context) -> Finding:
    from oscar_fedcloud.cli.oscar.http import proxy_of

    proxy = proxy_of(context.endpoint)
    if not proxy:
        return Finding("proxy", "ok", "none on the way to the server")
    host = context.endpoint.partition("://")[2].partition("/")[0].partition(":")[0]
    local = host in ("127.0.0.1", "localhost", "::1")
    remedy = f"if it should be reached directly, add {host} to no_proxy"
    return Finding("proxy", "warn" if local else "ok", f"requests go by {proxy}", remedy if local else "")


def _way(context: Context) -> str:
    if context.endpoint.startswith(("http://127.0.0.1", "http://localhost")):
        return "is the server running? `oscar-standalone status` shows it, `oscar-standalone start` starts it"
    return "check the address with `oscar context show`, the network, and the server with its administrator"


def _of(server: Server) -> Iterator[Finding]:
    for name, check in (
        ("credentials", _credentials),
        ("clock", _clock),
        ("versions", _versions),
        ("readiness", _readiness),
        ("store", _store),
    ):
        yield from _tried(name, server, check)


def _tried(name: str, server: Server, check: Callable[[Server], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check(server)
    except Denied as error:
        yield Finding(name, "fail", str(error), "sign in again: `oscar context add` asks for the password")
    except CommandError as error:
        yield Finding(name, "fail", str(error), "the server's log says more")


def _credentials(server: Server) -> Iterator[Finding]:
    count = len(server.services())
    yield Finding("credentials", "ok", f"accepted; {count} service{'' if count == 1 else 's'}")


def _clock(server: Server) -> Iterator[Finding]:
    with server.http.stream("GET", "/health") as answer:
        answer.read()
        told = answer.headers.get("date", "")
    try:
        skew = time.time() - parsedate_to_datetime(told).timestamp()
    except (TypeError, ValueError):
        yield Finding("clock", "warn", "the server does not tell its time")
        return
    if abs(skew) <= SKEW:
        yield Finding("clock", "ok", "agrees with the server's")
        return
    word = "ahead of" if skew > 0 else "behind"
    yield Finding(
        "clock", "warn", f"this machine is {abs(skew):.0f} s {word} the server", "synchronise both clocks (NTP)"
    )


def _versions(server: Server) -> Iterator[Finding]:
    theirs = str(server.info().get("version") or "?")
    detail = f"client {__version__}, server {theirs}"
    if server.legacy or theirs.split(".")[0] == __version__.split(".")[0]:
        yield Finding("versions", "ok", detail)
    else:
        yield Finding("versions", "warn", detail, "use a client of the server's series")


def _readiness(server: Server) -> Iterator[Finding]:
    parts: dict[str, Any] = server.readiness().get("parts") or {}
    bad = {name: part for name, part in parts.items() if not part.get("ok")}
    for name, part in bad.items():
        yield Finding("readiness", "fail", f"{name}: {part.get('detail') or 'does not work'}", "see the server's log")
    if not bad:
        yield Finding("readiness", "ok", f"{len(parts)} parts work" if parts else "healthy")


def _store(server: Server) -> Iterator[Finding]:
    yield Finding("store", "ok", f"reachable through the server; {len(server.buckets())} buckets")
