# SPDX-License-Identifier: Apache-2.0
"""``oscar get``, ``describe`` and ``services``: show services, and roll back to earlier revisions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from oscar_fedcloud.cli.oscar.app import App, confirmed, formatted, note, on_server, pass_app
from oscar_fedcloud.cli.oscar.text import Column, age, printable

_COLUMNS = (
    Column("SERVICE"),
    Column("STATE"),
    Column("REV"),
    Column("INPUT", shrinks=True),
    Column("QUEUED"),
    Column("RUNNING"),
    Column("DONE"),
    Column("FAILED"),
)
_REASON = Column("REASON", shrinks=True)
_RECENT = 5  # jobs


@click.command("get")
@click.argument("names", metavar="[SERVICE]...", nargs=-1)
@formatted
@on_server
@pass_app
def get_command(app: App, names: Sequence[str]) -> None:
    """List services."""
    found = [app.server.service(name) for name in names] if names else app.server.services()
    reasons = any(_status(service)["reason"] for service in found)
    columns = (*_COLUMNS, _REASON) if reasons else _COLUMNS
    app.show(columns, found, lambda each: _row(each, reasons), lambda each: str(each["name"]), "There are no services.")


def _row(service: Mapping[str, Any], reasons: bool) -> Sequence[str]:
    status, counts = _status(service), service.get("counts") or {}
    inputs = ", ".join(str(each["path"]) for each in service["document"].get("input") or ())
    numbers = (str(counts.get(state, 0)) for state in ("queued", "running", "succeeded", "failed"))
    row = (str(service["name"]), status["state"], str(service.get("revision") or ""), inputs, *numbers)
    return (*row, status["reason"]) if reasons else row


def _status(service: Mapping[str, Any]) -> Mapping[str, str]:
    return service.get("status") or {"state": "?", "reason": ""}


@click.command("describe")
@click.argument("service")
@formatted
@on_server
@pass_app
def describe_command(app: App, service: str) -> None:
    """Show all there is to know of a service."""
    found = app.server.service(service)
    if app.format != "table":
        app.document(found, str(found["name"]))
        return
    for line in _description(found):
        click.echo(line)
    jobs = list(app.server.jobs(limit=_RECENT, service=service))
    if jobs:
        from oscar_fedcloud.cli.oscar.jobview import columns, row

        reasons = any(job["reason"] for job in jobs)
        click.echo("\nNewest jobs:")
        click.echo(app.table(columns(reasons), [row(job, time.time(), reasons) for job in jobs]))


def _description(service: Mapping[str, Any]) -> Iterator[str]:
    import yaml

    status, document = _status(service), dict(service["document"])
    counts = ", ".join(f"{count} {state}" for state, count in sorted((service.get("counts") or {}).items()) if count)
    script = document.pop("script", "")
    yield f"{'Service:':10} {printable(str(service['name']))}"
    yield f"{'State:':10} {status['state']}" + (f": {printable(status['reason'])}" if status["reason"] else "")
    yield f"{'Revision:':10} {service.get('revision') or '?'}"
    yield f"{'Jobs:':10} {counts or 'none'}"
    yield "\nDocument (fields with a usual value are left out):"
    text = yaml.safe_dump(_set(document), sort_keys=False, allow_unicode=False).rstrip()
    yield from (f"  {line}" for line in text.splitlines())
    yield "\nScript:"
    yield from (f"  {printable(line)}" for line in str(script).splitlines())


def _set(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a document that differ from their defaults."""
    from oscar_fedcloud.fdl import parse_service, to_document

    usual = to_document(parse_service({"name": "any", "image": "any", "script": "any\n"}), secrets=False)
    return {
        key: value for key, value in document.items() if value != usual.get(key) and value not in (None, "", [], {})
    }


@click.group("services")
def services_command() -> None:
    """Show and take back earlier revisions of a service."""


@services_command.command("revisions")
@click.argument("service")
@formatted
@on_server
@pass_app
def revisions_command(app: App, service: str) -> None:
    """List the revisions of a service that can be taken back, newest first."""
    now = time.time()
    app.show(
        (Column("REVISION"), Column("AGE")),
        app.server.revisions(service),
        lambda each: (str(each["revision"]), age(each["changed"], now)),
        lambda each: str(each["revision"]),
    )


@services_command.command("rollback")
@click.argument("service")
@click.option("--to", type=int, metavar="REVISION", help="Which revision.  [default: the one before the current]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@formatted
@on_server
@pass_app
def rollback_command(app: App, service: str, to: int | None, yes: bool) -> None:
    """Declare an earlier revision of a service again."""
    target = f"revision {to}" if to is not None else "the revision before the current one"
    confirmed(f"Declare {target} of {service} again?", yes)
    found = app.server.rollback(service, to)
    if app.format != "table":
        app.document(found, service)
    else:
        note(f"{service} is at revision {found['revision']}, with the document of {target}")
