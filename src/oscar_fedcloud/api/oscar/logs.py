# SPDX-License-Identifier: Apache-2.0
"""``/system/logs`` of OSCAR: the jobs of a service by Job name, and their logs as text."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext, is_number
from oscar_fedcloud.api.routing import TEXT, Parameter, Route
from oscar_fedcloud.api.v2.jobs import log_answer, page_of_runs
from oscar_fedcloud.domain.runs import Run, RunState, job_name
from oscar_fedcloud.domain.services import NotFound
from oscar_fedcloud.ledger import ENDED, StateError
from oscar_fedcloud.server.encoding import answer
from oscar_fedcloud.server.problems import ApiError

PAGE = 70  # jobs on a page; OSCAR's default

_STATUS = {RunState.QUEUED: "Pending", RunState.RUNNING: "Running", RunState.SUCCEEDED: "Succeeded"}
_UNFINISHED = (RunState.QUEUED, RunState.RUNNING)


class OscarJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job as in OSCAR; every job that ended without success is ``Failed``."""

    status: str
    creation_time: str
    start_time: str = ""
    finish_time: str = ""


class OscarJobs(msgspec.Struct, frozen=True):
    """A page of jobs by Job name."""

    jobs: dict[str, OscarJob]
    next_page: str
    remaining_jobs: int


async def list_logs(ctx: RequestContext) -> Response:
    """Return the newest jobs of a service; ``page`` is the ``next_page`` of the previous response."""
    name = ctx.declared().service.name
    shown, _, cursor = ctx.query.get("page", "").partition(".")
    if shown and not is_number(shown):
        raise ApiError(400, f"page {ctx.query['page']!r} is not the next_page of an answer")
    runs, following = await page_of_runs(ctx, cursor, PAGE, service=name)
    jobs, total = await asyncio.to_thread(_jobs, ctx, name, runs)
    through = int(shown or 0) + len(runs)
    remaining = max(total - through, 1) if following else 0
    return answer(OscarJobs(jobs, f"{through}.{following}" if following else "", remaining))


def _jobs(ctx: RequestContext, service: str, runs: list[Run]) -> tuple[dict[str, OscarJob], int]:
    """Return the runs as in OSCAR, and the total number of the service."""
    ledger = ctx.invoker.ledger
    jobs = {}
    for run in runs:
        attempts = ledger.attempts(run.id) if run.attempts else []
        jobs[job_name(service, run.id, max(run.attempts, 1))] = OscarJob(
            status=_STATUS.get(run.state, "Failed"),
            creation_time=_time(run.created),
            start_time=_time(attempts[0].started) if attempts else "",
            finish_time=_time(run.finished) if run.finished is not None else "",
        )
    return jobs, sum(ledger.counts(service).get(service, {}).values())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def get_job_log(ctx: RequestContext) -> Response:
    """Return the whole log of a job as text."""
    run, attempt = await _find(ctx)
    return await log_answer(ctx, run.id, attempt)


async def delete_log(ctx: RequestContext) -> Response:
    """Remove one job and its log; a job that has not ended is cancelled."""
    run, _ = await _find(ctx)
    await _end(ctx, run)
    await asyncio.to_thread(ctx.invoker.ledger.delete_run, run.id)
    return Response(status_code=204)


async def delete_logs(ctx: RequestContext) -> Response:
    """Remove the succeeded jobs of a service; with ``all=true`` every job, cancelling those that have not ended."""
    name = ctx.declared().service.name
    everything = ctx.flag("all")
    if everything:
        await _end_all(ctx, name)
    states = ENDED if everything else (RunState.SUCCEEDED,)
    await asyncio.to_thread(ctx.invoker.ledger.delete_runs, name, states)
    return Response(status_code=204)


async def _end_all(ctx: RequestContext, service: str) -> None:
    cursor = ""
    while True:
        runs, cursor = await page_of_runs(ctx, cursor, 1000, service=service, states=_UNFINISHED)
        for run in runs:
            await _end(ctx, run)
        if not cursor:
            return


async def _end(ctx: RequestContext, run: Run) -> None:
    if run.state not in _UNFINISHED:
        return
    try:
        await ctx.invoker.invocations.cancel(run.id)
    except StateError:  # it ended meanwhile
        return


async def _find(ctx: RequestContext) -> tuple[Run, int | None]:
    """Return the run and attempt for a Job name ``<service>-<run>-<attempt>``. Raises NotFound."""
    service, job = ctx.declared().service.name, ctx.param("job")
    run_id, _, attempt = job.removeprefix(f"{service}-").partition("-")
    run = await asyncio.to_thread(ctx.invoker.ledger.run, run_id)
    if run is None or run.service != service or not (attempt == "" or is_number(attempt)):
        raise NotFound(f"service {service} has no job {job}")
    return run, int(attempt) if attempt else None


_ALL = Parameter("all", "remove all jobs, not only those that succeeded", "boolean")
_PAGE = Parameter("page", "next_page of the previous response")
_ONE = "/system/logs/{name}/{job}"

ROUTES = (
    Route(
        "GET",
        "/system/logs/{name}",
        handler=list_logs,
        summary="Jobs (OSCAR)",
        kind="job",
        answer=OscarJobs,
        parameters=(_PAGE,),
        errors=(404,),
    ),
    Route(
        "DELETE",
        "/system/logs/{name}",
        handler=delete_logs,
        summary="Remove jobs (OSCAR)",
        kind="job",
        status=204,
        parameters=(_ALL,),
        errors=(404,),
    ),
    Route("GET", _ONE, handler=get_job_log, summary="Log of a job (OSCAR)", kind="job", answer=TEXT, errors=(404,)),
    Route("DELETE", _ONE, handler=delete_log, summary="Remove a job (OSCAR)", kind="job", status=204, errors=(404,)),
)
