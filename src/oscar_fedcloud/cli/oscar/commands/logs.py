# SPDX-License-Identifier: Apache-2.0
"""``oscar logs``: prints the log of a job, or follows it."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from oscar_fedcloud.cli.oscar.app import App, note, on_server, pass_app
from oscar_fedcloud.cli.oscar.errors import Missing
from oscar_fedcloud.cli.oscar.jobview import ended, reason

SHORTEST = 0.3  # s between reads
LONGEST = 5.0  # s
SHARE = 20  # reads take at most one part in this many of the time


@click.command("logs")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Print what comes, until the job has ended.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Which attempt.  [default: the latest]")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only so many lines of the end.")
@on_server
@pass_app
def logs_command(app: App, job: str, follow: bool, attempt: int | None, tail: int | None) -> None:
    """Print the log of a job.

    JOB is the id of a job, or a service, whose newest job is meant. The log is printed as the script wrote it.
    """
    found = app.server.find_job(job)
    if follow:
        _follow(app, found, attempt, tail)
        return
    log = app.server.log(str(found["id"]), attempt, tail)
    if log is None:
        which = "" if attempt is None else f" of attempt {attempt}"
        why = f": it is {found['state']}, {reason(found)}" if reason(found) else f": it is {found['state']}"
        raise Missing(f"job {found['id']} has no log{which}{why}")
    _write(log)


def _follow(app: App, job: dict[str, Any], attempt: int | None, tail: int | None) -> None:
    """Print the growing log until the job, or the requested attempt, has ended.

    A new attempt starts from its beginning.
    """
    job_id, shown, current, told = str(job["id"]), 0, 0, ""
    while True:
        began = time.monotonic()
        job = app.server.job(job_id)
        over = ended(job) or (attempt is not None and int(job["attempts"]) > attempt)
        number = attempt or int(job["attempts"])
        if number != current:
            if current:
                note(f"--- attempt {number} ---")
            current, shown = number, 0
        if number:
            log, shown = app.server.log_behind(job_id, number, shown, tail)
            tail = None if shown else tail
            _write(log)
        if over:
            break
        told = _tell_wait(job, told)
        time.sleep(min(max((time.monotonic() - began) * SHARE, SHORTEST), LONGEST))
    words = f": {reason(job)}" if reason(job) else ""
    note(f"--- job {job_id} {job['state']}{words} ---")


def _tell_wait(job: dict[str, Any], told: str) -> str:
    """Print what a queued job waits for, once for each reason."""
    text = reason(job) if job["state"] == "queued" else ""
    if text and text != told:
        note(f"--- waits: {text} ---")
    return text or told


def _write(data: bytes) -> None:
    """Write bytes unchanged: a log has the encoding of the script, not that of this terminal."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(data.decode("utf-8", "backslashreplace"))
    else:
        sys.stdout.flush()
        stream.write(data)
    sys.stdout.flush()
