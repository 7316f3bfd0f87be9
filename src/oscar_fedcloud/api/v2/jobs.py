# SPDX-License-Identifier: Apache-2.0
"""Jobs: starting them by a request, reading, cancelling and repeating them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from oscar_fedcloud.access.auth import Resource
from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import BYTES, TEXT, Parameter, Route
from oscar_fedcloud.api.v2 import results, serializers, views
from oscar_fedcloud.domain.runs import Attempt, Run, RunState
from oscar_fedcloud.domain.services import NotFound
from oscar_fedcloud.ledger import ENDED, cursor_of
from oscar_fedcloud.server.encoding import answer
from oscar_fedcloud.server.origin import is_json, media_type
from oscar_fedcloud.server.problems import ApiError, bad_cursor, invalid
from oscar_fedcloud.sources.dialects import Dialect, unwrap

JOB_HEADER = "X-Oscar-Job-Id"
LOG_HEADER = "Log-Offset"
NO_SYNCHRONOUS = "synchronous invocation is not available on this server"


async def submit(ctx: RequestContext, encoded: bool = False) -> Run:
    """Start the service named in the path with the request's body.

    A service's token may only submit events of objects that are inside the service's inputs.

    Args:
        encoded: whether files in the body are base64.
    """
    service = ctx.declared().service
    async with ctx.content() as body:
        if ctx.identity.kind == "service":
            for item in await asyncio.to_thread(unwrap, body):
                if item.dialect is not Dialect.UNKNOWN:
                    place = (item.provider, item.bucket, item.key)
                    ctx.demand("start", Resource("service", service.name, service, place))
        return await ctx.invoker.invocations.submit(
            service.name,
            body,
            encoded=encoded,
            idempotency_key=ctx.header("idempotency-key"),
            delegated_id=ctx.header("x-delegated-job-id"),
        )


async def start_job(ctx: RequestContext) -> Response:
    """Start a job and return its location. The response shows whether an earlier request has already started it."""
    began = time.time()
    run = await submit(ctx)
    headers = {"Location": f"/v2/jobs/{run.id}", JOB_HEADER: run.id}
    if run.created < began:
        headers["Idempotency-Replayed"] = "true"
    return answer(job_view(ctx, run), 202, headers)


def job_view(ctx: RequestContext, run: Run) -> views.Job:
    """Return a job with its wait reason."""
    return job_views(ctx, [run])[0]


def job_views(ctx: RequestContext, runs: Sequence[Run]) -> list[views.Job]:
    """Return jobs with their wait reasons, from memory."""
    waits = ctx.invoker.waits.of(runs)
    return [serializers.job_view(run, waits.get(run.id), ctx.invoker.waits.progress(run)) for run in runs]


async def start_oscar_job(ctx: RequestContext) -> Response:
    """Start a job by ``POST /job/{name}`` of OSCAR: 201 without a body, and the job's id in a header.

    OSCAR's clients send files as base64, with a JSON content type or none. Any other type describes the body.
    """
    media = media_type(ctx.request.headers)
    run = await submit(ctx, encoded=not media or is_json(media))
    return Response(status_code=201, headers={JOB_HEADER: run.id})


async def run_synchronously(ctx: RequestContext) -> Response:
    """Refuse ``POST /run/{name}`` of OSCAR, which this server does not offer."""
    ctx.declared()
    return PlainTextResponse(NO_SYNCHRONOUS, 501)


async def list_jobs(ctx: RequestContext) -> Response:
    """Return jobs, newest first, by page."""
    runs, cursor = await page_of_runs(
        ctx,
        ctx.query.get("cursor", ""),
        ctx.number("limit", 100, 1, 1000),
        service=ctx.query.get("service"),
        states=_states(ctx.query.get("state", "")),
        bucket=ctx.query.get("bucket"),
        key=ctx.query.get("key"),
        since=ctx.time("since"),
    )
    return answer(views.Jobs(job_views(ctx, runs), cursor))


async def page_of_runs(ctx: RequestContext, cursor: str, size: int, **conditions: Any) -> tuple[list[Run], str]:
    """Return a page of runs, newest first, and the cursor of the next page ("" on the last). Raises ApiError 422."""
    try:
        runs = await asyncio.to_thread(ctx.invoker.ledger.runs, before=cursor or None, limit=size + 1, **conditions)
    except ValueError:
        raise bad_cursor(cursor) from None
    return runs[:size], cursor_of(runs[size - 1]) if len(runs) > size else ""


def _states(text: str) -> list[RunState] | None:
    """Return the states in a comma-separated list; None means all. Raises ApiError 422."""
    states = []
    for name in filter(None, text.split(",")):
        if name not in list(RunState):
            raise invalid("query.state", name, f"{name!r} is not a state", f"known are: {', '.join(RunState)}")
        states.append(RunState(name))
    return states or None


async def get_job(ctx: RequestContext) -> Response:
    """Return one job with its attempts and outputs."""
    run = await the_run(ctx)
    attempts, found = await asyncio.to_thread(_history, ctx, run)
    wait = ctx.invoker.waits.of([run]).get(run.id)
    return answer(serializers.job_detail(run, attempts, found, wait, ctx.invoker.waits.progress(run)))


def _history(ctx: RequestContext, run: Run) -> tuple[list[Attempt], serializers.Results]:
    attempts = ctx.invoker.ledger.attempts(run.id)
    return attempts, results.of_run(ctx.invoker, run, attempts)


async def get_log(ctx: RequestContext) -> Response:
    """Return the log of an attempt, by default of the latest."""
    attempt = ctx.optional_number("attempt", 1, 1_000_000)
    tail = ctx.optional_number("tail", 0, 1_000_000)
    offset = ctx.optional_number("offset", 0, 10**15)
    if tail is not None and offset is not None:
        raise invalid("query.tail", tail, "tail and offset exclude each other", "give one of them")
    run = await the_run(ctx)
    return await log_answer(ctx, run.id, attempt, tail, offset)


async def log_answer(
    ctx: RequestContext, run_id: str, attempt: int | None, tail: int | None = None, offset: int | None = None
) -> Response:
    """Return a log as text, with the offset at which it continues. Raises NotFound if there is none."""
    found = await ctx.invoker.invocations.log(run_id, attempt, tail, offset)
    if found is None:
        which = "" if attempt is None else f" of attempt {attempt}"
        raise NotFound(f"job {run_id} has no log{which}")
    headers = {} if found.end is None else {LOG_HEADER: str(found.end)}
    return StreamingResponse(found.chunks, headers=headers, media_type="text/plain; charset=utf-8")


async def cancel_job(ctx: RequestContext) -> Response:
    """End a job. A running job is ``cancelled`` a moment later."""
    run = await ctx.invoker.invocations.cancel(ctx.param("id"))
    if run.state in ENDED and run.state is not RunState.CANCELLED:
        raise ApiError(409, f"job {run.id} has already ended, it is {run.state}")
    return answer(job_view(ctx, run))


async def retry_job(ctx: RequestContext) -> Response:
    """Queue a job that did not succeed again."""
    return answer(job_view(ctx, await ctx.invoker.invocations.retry(ctx.param("id"))))


async def replay_job(ctx: RequestContext) -> Response:
    """Queue an ended job again, in whatever state it ended."""
    return answer(job_view(ctx, await ctx.invoker.invocations.replay(ctx.param("id"))))


async def the_run(ctx: RequestContext) -> Run:
    run = await asyncio.to_thread(ctx.invoker.ledger.run, ctx.param("id"))
    if run is None:
        raise NotFound(f"job {ctx.param('id')} does not exist")
    return run


async def why(ctx: RequestContext) -> Response:
    """Return what became of an object, for each service concerned, newest revision first."""
    bucket, key = ctx.query.get("bucket", ""), ctx.query.get("key", "")
    for name, value in (("bucket", bucket), ("key", key)):
        if not value:
            raise invalid(f"query.{name}", None, f"{name} is missing", "give bucket and key")
    limit, cursor = ctx.number("limit", 100, 1, 1000), ctx.query.get("cursor", "")
    try:
        found = await ctx.invoker.invocations.why(bucket, key, ctx.query.get("service", ""), limit, cursor)
    except ValueError:
        raise bad_cursor(cursor) from None
    shown = [views.AnswerView(one.service, one.answer, one.detail, one.job) for one in found.answers]
    return answer(views.Why(bucket, key, shown, found.cursor))


async def backlog(ctx: RequestContext) -> Response:
    """Return what would start now if there were capacity, for autoscalers, and what all queued jobs wait for."""
    rows = [serializers.backlog_row(row) for row in await ctx.invoker.backlog()]
    waiting = await asyncio.to_thread(ctx.invoker.waits.queued)
    return answer(views.Backlog(rows, [serializers.waiting_view(row) for row in waiting]))


async def get_outputs(ctx: RequestContext) -> Response:
    """Return what an attempt of a job wrote, by default the last one, by page."""
    attempt = ctx.optional_number("attempt", 1, 1_000_000)
    limit = ctx.number("limit", 1000, 1, results.PAGE)
    after = ctx.number("cursor", 0, 0, 10**9)
    run = await the_run(ctx)
    return answer(await asyncio.to_thread(results.page, ctx.invoker, run, attempt, after, limit))


async def get_chain(ctx: RequestContext) -> Response:
    """Return the jobs that led to this one and those that it started, as far as the ledger knows them."""
    run = await the_run(ctx)
    runs, links, complete = await asyncio.to_thread(results.chain, ctx.invoker, run)
    return answer(views.Chain(job_views(ctx, runs), links, complete))


_LIST = (
    Parameter("service", "jobs of this service"),
    Parameter("state", "comma-separated states"),
    Parameter("bucket", "jobs on objects of this bucket"),
    Parameter("key", "jobs on this object"),
    Parameter("since", "jobs made since then; RFC 3339 or seconds since the epoch"),
    Parameter("limit", "jobs on a page, 1 to 1000, by default 100", "integer"),
    Parameter("cursor", "of the page before"),
)
_LOG = (
    Parameter("attempt", "number of the attempt, by default the latest", "integer"),
    Parameter("tail", "only this number of lines at the end", "integer"),
    Parameter(
        "offset",
        "only what follows this number of bytes; Log-Offset of a response is the offset at which to continue",
        "integer",
    ),
)
_OUTPUTS = (
    Parameter("attempt", "number of the attempt, by default the latest", "integer"),
    Parameter("limit", "outputs on a page, 1 to 1000, by default 1000", "integer"),
    Parameter("cursor", "of the page before", "integer"),
)
_WHY = (
    Parameter("bucket", "of the object"),
    Parameter("key", "of the object"),
    Parameter("service", "only for this service"),
    Parameter("limit", "revisions on a page, 1 to 1000, by default 100", "integer"),
    Parameter("cursor", "of the page before"),
)

ROUTES = (
    Route(
        "POST",
        "/v2/services/{name}/jobs",
        handler=start_job,
        summary="Start a job with any body",
        kind="service",
        answer=views.Job,
        status=202,
        verb="start",
        request=BYTES,
        errors=(404, 422),
    ),
    Route(
        "GET",
        "/v2/jobs",
        handler=list_jobs,
        summary="Jobs, newest first",
        kind="job",
        answer=views.Jobs,
        parameters=_LIST,
        errors=(422,),
    ),
    Route(
        "GET",
        "/v2/jobs/{id}",
        handler=get_job,
        summary="One job with its attempts",
        kind="job",
        answer=views.JobDetail,
        errors=(404,),
    ),
    Route(
        "GET",
        "/v2/jobs/{id}/log",
        handler=get_log,
        summary="Log of a job",
        kind="job",
        answer=TEXT,
        parameters=_LOG,
        errors=(404, 422),
    ),
    Route(
        "GET",
        "/v2/jobs/{id}/outputs",
        handler=get_outputs,
        summary="What a job wrote",
        kind="job",
        answer=views.Outputs,
        parameters=_OUTPUTS,
        errors=(404, 422),
    ),
    Route(
        "GET",
        "/v2/jobs/{id}/chain",
        handler=get_chain,
        summary="Jobs before and after",
        kind="job",
        answer=views.Chain,
        errors=(404,),
    ),
    Route(
        "POST",
        "/v2/jobs/{id}:cancel",
        handler=cancel_job,
        summary="End a job",
        kind="job",
        answer=views.Job,
        errors=(404, 409),
    ),
    Route(
        "POST",
        "/v2/jobs/{id}:retry",
        handler=retry_job,
        summary="Queue a failed job again",
        kind="job",
        answer=views.Job,
        errors=(404, 409),
    ),
    Route(
        "POST",
        "/v2/jobs/{id}:replay",
        handler=replay_job,
        summary="Queue an ended job again",
        kind="job",
        answer=views.Job,
        errors=(404, 409),
    ),
    Route(
        "GET",
        "/v2/why",
        handler=why,
        summary="Why a file did or did not run",
        kind="job",
        answer=views.Why,
        parameters=_WHY,
        errors=(422,),
    ),
    Route(
        "GET", "/v2/backlog", handler=backlog, summary="Work that waits for room", kind="figures", answer=views.Backlog
    ),
    Route(
        "POST",
        "/job/{name}",
        handler=start_oscar_job,
        summary="Start a job (OSCAR)",
        kind="service",
        status=201,
        verb="start",
        request=BYTES,
        errors=(404,),
    ),
    Route(
        "POST",
        "/run/{name}",
        handler=run_synchronously,
        summary="Synchronous invocation, not available (OSCAR)",
        kind="service",
        answer=TEXT,
        status=501,
        verb="start",
        request=BYTES,
        errors=(404,),
    ),
)
