# SPDX-License-Identifier: Apache-2.0
"""``oscar put`` and ``fetch``: send files through a service, and fetch its results."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oscar_fedcloud.cli.oscar.app import App, formatted, note, on_server, pass_app
from oscar_fedcloud.cli.oscar.errors import CommandError, JobFailed
from oscar_fedcloud.cli.oscar.text import Column, plural, printable

if TYPE_CHECKING:
    from oscar_fedcloud.cli.oscar.download import Names
    from oscar_fedcloud.cli.oscar.follow import Awaited
    from oscar_fedcloud.cli.oscar.progress import Progress
    from oscar_fedcloud.cli.oscar.uploads import Upload

PARALLEL = 8


@dataclass(slots=True)
class Sending:
    """A file that was sent: its place in the store, its job, and the fetched results."""

    upload: Upload
    stored: dict[str, Any] = field(default_factory=dict)
    awaited: Awaited | None = None
    results: list[Path] = field(default_factory=list)
    problem: str = ""

    @property
    def state(self) -> str:
        """Return the state of the file."""
        if self.awaited is None:
            return "stored" if self.upload.bucket else "accepted"
        if self.awaited.refusal:
            return "refused"
        return str(self.awaited.job["state"]) if self.awaited.job else "waiting"

    @property
    def reason(self) -> str:
        """Return the reason of the state."""
        job = (self.awaited and self.awaited.job) or {}
        return self.problem or (self.awaited.refusal if self.awaited else "") or str(job.get("reason") or "")

    @property
    def good(self) -> bool:
        """Return whether its job succeeded and its results were fetched."""
        return not self.problem and self.state == "succeeded"

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        job = (self.awaited and self.awaited.job) or {}
        return {
            "file": str(self.upload.path),
            "bucket": self.upload.bucket,
            "key": self.upload.key,
            "state": self.state,
            "reason": self.reason,
            "job": job.get("id") or self.stored.get("id"),
            "results": [str(path) for path in self.results],
        }


@click.command("put")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("service")
@click.option("--wait", is_flag=True, help="Wait until the jobs have ended.")
@click.option(
    "--dest", type=click.Path(path_type=Path), metavar="DIR", help="Fetch the results into DIR; implies --wait."
)
@click.option(
    "--input", "chosen", metavar="PATH", help="Which input of the service.  [default: the first that takes the name]"
)
@click.option("--timeout", type=float, metavar="S", help="Longest wait for all jobs.  [default: no limit]")
@click.option(
    "--parallel", type=click.IntRange(1, 16), default=PARALLEL, show_default=True, help="Concurrent transfers."
)
@formatted
@on_server
@pass_app
def put_command(
    app: App,
    files: Sequence[Path],
    service: str,
    wait: bool,
    dest: Path | None,
    chosen: str | None,
    timeout: float | None,
    parallel: int,
) -> None:
    """Send files through a service.

    A FILE that is a folder stands for all files below it, whose names then begin with the path inside the folder.
    With --dest each result goes to DIR under its name below the service's output folder.
    """
    from oscar_fedcloud.cli.oscar.uploads import collect, route

    uploads = collect(files)
    server = app.server
    server.must_follow(wait or dest is not None)
    uploads = route(uploads, server.service(service)["document"], chosen)
    sendings = [Sending(upload) for upload in uploads]
    if wait or dest is not None:
        _send_and_wait(app, service, sendings, dest, timeout, parallel)
    else:
        _send(app, service, sendings, parallel)
    _report(app, sendings, waited=wait or dest is not None)


def _send(app: App, service: str, sendings: Sequence[Sending], parallel: int) -> None:
    """Store all files. Raises CommandError at the first that cannot be stored."""
    from oscar_fedcloud.cli.oscar.pool import results, threads
    from oscar_fedcloud.cli.oscar.progress import progress

    with progress(in_bytes=True) as bars, threads(min(parallel, len(sendings))) as pool:
        bars.begin("sent", sum(each.upload.path.stat().st_size for each in sendings))
        for _ in results([pool.submit(_store, app, service, each, bars) for each in sendings]):
            pass


def _store(app: App, service: str, sending: Sending, bars: Progress) -> None:
    upload = sending.upload
    try:
        if upload.bucket:
            sending.stored = app.server.put(
                upload.bucket,
                upload.key,
                lambda: upload.path.open("rb"),
                lambda count: bars.advance("sent", count),
                upload.provider,
            )
        else:
            sending.stored = app.server.start(service, lambda: upload.path.open("rb"))
    except OSError as error:
        raise CommandError(f"{upload.path} cannot be read: {error.strerror}") from error


def _send_and_wait(
    app: App, service: str, sendings: Sequence[Sending], dest: Path | None, timeout: float | None, parallel: int
) -> None:
    from oscar_fedcloud.cli.oscar.download import Names
    from oscar_fedcloud.cli.oscar.follow import Awaited, Follower
    from oscar_fedcloud.cli.oscar.pool import results, threads
    from oscar_fedcloud.cli.oscar.progress import progress

    since = next((str(job["created"]) for job in app.server.jobs(limit=1, service=service)), "")
    _send(app, service, sendings, parallel)
    for each in sendings:
        each.awaited = Awaited(_name(each))
    with progress() as bars, threads(parallel) as pool:
        bars.begin("done", len(sendings))
        ends = _Ends(app, sendings, pool, bars, Names(dest) if dest is not None else None)
        awaited = [each.awaited for each in sendings if each.awaited]
        Follower(app.server, service, since, ends.ended, ends.looked).follow(awaited, timeout)
        for _ in results(ends.fetching):
            pass


def _name(sending: Sending) -> tuple[str, ...]:
    if not sending.upload.bucket:
        return (str(sending.stored["id"]),)
    return sending.upload.bucket, sending.upload.key, str(sending.stored["revision"])


class _Ends:
    """The actions to take as jobs end."""

    def __init__(
        self, app: App, sendings: Sequence[Sending], pool: ThreadPoolExecutor, bars: Progress, names: Names | None
    ) -> None:
        self._app = app
        self._by_name = {each.awaited.name: each for each in sendings if each.awaited}
        self._pool = pool
        self._bars = bars
        self._names = names
        self.fetching: list[Future[None]] = []

    def ended(self, awaited: Awaited) -> None:
        """Fetch the results of a job that succeeded, while others continue."""
        sending = self._by_name[awaited.name]
        if self._names is not None and awaited.job and awaited.job["state"] == "succeeded":
            self.fetching.append(self._pool.submit(self._fetch, sending, str(awaited.job["id"]), self._names))
        else:
            self._bars.advance("done")

    def _fetch(self, sending: Sending, job_id: str, names: Names) -> None:
        from oscar_fedcloud.cli.oscar.download import fetch

        try:
            sending.results = fetch(self._app.server, self._app.server.job(job_id), names)
        except CommandError as error:
            sending.problem = str(error)
        self._bars.advance("done")

    def looked(self, waiting: Sequence[Awaited]) -> None:
        """Show how many jobs are running and waiting."""
        running = sum(bool(each.job) and each.job["state"] == "running" for each in waiting)  # type: ignore[index]
        self._bars.say("done", f"{running} running, {len(waiting) - running} waiting")


def _report(app: App, sendings: Sequence[Sending], waited: bool) -> None:
    """Print the outcome for the files. Raises JobFailed unless all succeeded."""
    heads: tuple[Column, ...] = (Column("FILE", shrinks=True), Column("STATE"))
    heads += (Column("RESULT", shrinks=True),) if waited else (Column("STORED AS", shrinks=True),)
    if app.format in ("json", "yaml"):
        app.document([each.document() for each in sendings])
    else:
        app.show(heads, sendings, lambda each: _row(each, waited), _short_name)
    bad = [each for each in sendings if waited and not each.good]
    if bad:
        job = bad[0].document()["job"]
        hint = f"; `oscar logs {job}` shows the log of the first" if job else ""
        raise JobFailed(f"{len(bad)} of {plural(len(sendings), 'file')} did not come through{hint}")


def _short_name(sending: Sending) -> str:
    return str(sending.document()["job"] or f"{sending.upload.bucket}/{sending.upload.key}")


def _row(sending: Sending, waited: bool) -> Sequence[str]:
    upload = sending.upload
    if not waited:
        place = f"{upload.bucket}/{upload.key}" if upload.bucket else f"job {sending.stored.get('id')}"
        return (str(upload.path), sending.state, place)
    results = ", ".join(str(path) for path in sending.results)
    return (str(upload.path), sending.state, sending.reason or results)


@click.command("fetch")
@click.argument("job")
@click.option(
    "--dest", type=click.Path(path_type=Path), metavar="DIR", default=Path(), help="Folder.  [default: this one]"
)
@formatted
@on_server
@pass_app
def fetch_command(app: App, job: str, dest: Path) -> None:
    """Fetch what a job wrote.

    JOB is the id of a job, or a service, whose newest job is meant. A result that was overwritten since is an error.
    """
    from oscar_fedcloud.cli.oscar.download import Names, fetch

    found = app.server.find_job(job)
    if found["state"] != "succeeded":
        reason = f": {found['reason']}" if found.get("reason") else ""
        raise JobFailed(f"job {found['id']} is {found['state']}{reason}")
    files = fetch(app.server, found, Names(dest))
    if app.format in ("json", "yaml"):
        app.document([str(file) for file in files])
        return
    for file in files:
        click.echo(printable(str(file)))
    if not files:
        note(f"job {found['id']} wrote nothing")
