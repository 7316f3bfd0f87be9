# SPDX-License-Identifier: Apache-2.0
"""``oscar jobs``, ``job``, ``why``, ``retry``, ``replay`` and ``cancel``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from oscar_fedcloud.cli.oscar.app import App, formatted, note, on_server, pass_app
from oscar_fedcloud.cli.oscar.errors import CommandError, WrongUse
from oscar_fedcloud.cli.oscar.jobview import columns, place, reason, row
from oscar_fedcloud.cli.oscar.text import Column, age, printable, size

_STATES = ("queued", "running", "succeeded", "failed", "superseded", "input_gone", "cancelled")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _since(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return a time for the server; a span such as 2h is relative to now."""
    if value is not None and (found := _SPAN.fullmatch(value)):
        return str(time.time() - float(found[1]) * _SECONDS[found[2]])
    return value


@click.command("jobs")
@click.argument("service", required=False)
@click.option("--state", type=click.Choice(_STATES), multiple=True, help="Only jobs in this state; may be repeated.")
@click.option("--bucket", help="Only jobs on objects of this bucket.")
@click.option("--key", help="Only jobs on this object.")
@click.option(
    "--since", callback=_since, metavar="TIME", help="Only jobs made since: 90s, 2h, 3d, or a time (RFC 3339)."
)
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "everything", is_flag=True, help="All jobs, however many there are.")
@click.option("-w", "--watch", is_flag=True, help="Keep the table up to date until Ctrl-C.")
@formatted
@on_server
@pass_app
def jobs_command(
    app: App, /, service: str | None, state: Sequence[str], limit: int, everything: bool, watch: bool, **filters: Any
) -> None:
    """List jobs, newest first."""
    chosen = {**filters, "service": service, "state": ",".join(state)}
    if watch:
        from oscar_fedcloud.cli.oscar.watch import watch_jobs

        watch_jobs(app, limit, chosen)
        return
    found = list(app.server.jobs(None if everything else limit, **chosen))
    now, reasons = time.time(), any(reason(job) for job in found)
    app.show(
        columns(reasons),
        found,
        lambda job: row(job, now, reasons),
        lambda job: str(job["id"]),
        "There are no such jobs.",
    )


@click.command("job")
@click.argument("job")
@formatted
@on_server
@pass_app
def job_command(app: App, job: str) -> None:
    """Show one job with its attempts and outputs.

    JOB is the id of a job, or a service, whose newest job is meant.
    """
    found = find(app, job)
    if app.format != "table":
        app.document(found, str(found["id"]))
        return
    for line in _detail(app, found):
        click.echo(line)


def find(app: App, name: str) -> dict[str, Any]:
    """Return the job of that id, or the newest one of the service of that name. Raises Missing."""
    return app.server.find_job(name)


def _detail(app: App, job: Mapping[str, Any]) -> Iterator[str]:
    now = time.time()
    yield f"{'Job:':10} {job['id']}"
    yield f"{'Service:':10} {printable(str(job['service']))}"
    yield f"{'State:':10} {job['state']}" + (f": {printable(reason(job))}" if reason(job) else "")
    if job.get("summary"):
        yield f"{'Result:':10} {printable(str(job['summary']))}"
    yield f"{'Input:':10} {printable(place(job))} ({size(job.get('size'))})"
    yield f"{'Age:':10} {age(job.get('created'), now)}"
    if job.get("origin"):
        yield f"{'Made by:':10} job {job['origin']}"
    attempts = job.get("attempt_list") or []
    if attempts:
        yield ""
        heads = (Column("ATTEMPT"), Column("STATE"), Column("EXIT"), Column("TOOK"), Column("REASON", shrinks=True))
        yield app.table(heads, [_attempt(each, now) for each in attempts])
    outputs = job.get("outputs") or []
    if outputs:
        yield ""
        yield app.table(
            (Column("OUTPUT", shrinks=True), Column("SIZE")),
            [(f"{each['bucket']}/{each['key']}", size(each["size"])) for each in outputs],
        )
        more = int(job.get("outputs_total") or 0) - len(outputs)
        if more > 0:
            yield f"and {more} more"


def _attempt(attempt: Mapping[str, Any], now: float) -> Sequence[str]:
    from oscar_fedcloud.cli.oscar.text import moment, span

    began = moment(attempt["started"]) or now
    took = (moment(attempt["finished"]) or now if attempt["finished"] else now) - began
    code = attempt["exit_code"]
    return (
        str(attempt["number"]),
        str(attempt["state"]),
        "" if code is None else str(code),
        span(took),
        str(attempt["reason"] or ""),
    )


@click.command("why")
@click.argument("object_", metavar="BUCKET/KEY")
@click.option("--service", help="Only for this service.")
@formatted
@on_server
@pass_app
def why_command(app: App, object_: str, service: str | None) -> None:
    """Say why a file did or did not run."""
    from oscar_fedcloud.cli.oscar.places import parse

    where = parse(object_)
    if not where.key:
        raise WrongUse(f"{object_!r} names no object: give BUCKET/KEY")
    found = app.server.why(where.bucket, where.key, service)
    if app.format in ("json", "yaml"):
        app.document(found)
        return
    heads = (Column("SERVICE"), Column("ANSWER"), Column("JOB"), Column("DETAIL", shrinks=True))
    if app.plain:
        rows = [(str(a["service"]), str(a["answer"]), str(a["job"] or ""), str(a["detail"])) for a in found["answers"]]
        app.show(heads, rows, lambda each: each, lambda each: each[2] or each[0])
        return
    for answer in found["answers"]:
        click.echo(_sentence(answer))


def _sentence(answer: Mapping[str, Any]) -> str:
    """Return one explanation as text, uncut, since the user asked for the reason."""
    who = f"{answer['service']}: " if answer["service"] else ""
    job = f" (job {answer['job']})" if answer["job"] else ""
    return printable(f"{who}{str(answer['answer']).replace('_', ' ')}{job}: {answer['detail']}")


def _verb(name: str, done: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
    @formatted
    @on_server
    @pass_app
    def command(app: App, jobs: Sequence[str]) -> int:
        return _act(app, jobs, name, done)

    return command


def _act(app: App, jobs: Sequence[str], verb: str, done: str) -> int:
    """Apply the action to each job, continuing after failures; return the exit code of the first failure."""
    changed, code = [], 0
    for job in jobs:
        try:
            changed.append(app.server.act(job, verb))
            if app.format == "table":
                note(f"job {job} {done}")
        except CommandError as error:
            note(f"oscar: {error}")
            code = code or error.code
    if app.format == "name":
        for done_to in changed:
            click.echo(done_to["id"])
    elif app.format != "table":
        app.document(changed)
    return code


retry_command = _verb("retry", "is queued again", "Queue jobs again that did not succeed.")
replay_command = _verb("replay", "is queued again", "Queue ended jobs again, whatever their end was.")
cancel_command = _verb("cancel", "is told to end", "End jobs.")
