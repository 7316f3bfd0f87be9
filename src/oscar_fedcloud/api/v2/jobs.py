# SPDX-License-Identifier: Apache-2.0
"""Jobs: starting them by a request, looking at them, ending and repeating them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from oscar_fedcloud.access.auth import Resource
from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import BYTES, TEXT, Parameter, Route
from oscar_fedcloud.api.v2 import results, views
from oscar_fedcloud.api.v2 import serializers as present
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


async def submit(call: RequestContext, encoded: bool = False) -> Run:
    """Start the service that the path names with the request's body. A token needs the body's objects in its inputs.

    encoded: files in the body come as base64.
    """
    service = call.declared().service
    async with call.content() as body:
        if call.identity.kind == "service":
            for item in await asyncio.to_thread(unwrap, body):
                if item.dialect is not Dialect.UNKNOWN:
                    place = (item.provider, item.bucket, item.key)
                    call.demand("start", Resource("service", service.name, service, place))
        return await call.invoker.invocations.submit(
            service.name,
            body,
            encoded=encoded,
            idempotency_key=call.header("idempotency-key"),
            delegated_id=call.header("x-delegated-job-id"),
        )


async def start_job(call: RequestContext) -> Response:
    """Start a job and answer where it can be followed. A job that an earlier request started is said to be so."""
    began = time.time()
    run = await submit(call)
    headers = {"Location": f"/v2/jobs/{run.id}", JOB_HEADER: run.id}
    if run.created < began:
        headers["Idempotency-Replayed"] = "true"
    return answer(job_view(call, run), 202, headers)


def job_view(call: RequestContext, run: Run) -> views.Job:
    """A job with what it waits for."""
    return job_views(call, [run])[0]


def job_views(call: RequestContext, runs: Sequence[Run]) -> list[views.Job]:
    """Jobs with what they wait for, from memory."""
    waits = call.invoker.waits.of(runs)
    return [present.job_view(run, waits.get(run.id), call.invoker.waits.progress(run)) for run in runs]


async def start_oscar_job(call: RequestContext) -> Response:
    """``POST /job/{name}`` of OSCAR: 201 without a body, as its clients expect, and the job's id in a header.

    Its clients send files as base64, with the content type of JSON or none. Any other type says what the body is.
    """
    media = media_type(call.request.headers)
    run = await submit(call, encoded=not media or is_json(media))
    return Response(status_code=201, headers={JOB_HEADER: run.id})


async def run_synchronously(call: RequestContext) -> Response:
    """``POST /run/{name}`` of OSCAR, which this server does not offer."""
    call.declared()
    return PlainTextResponse(NO_SYNCHRONOUS, 501)


async def list_jobs(call: RequestContext) -> Response:
    """Jobs, newest first, by page."""
    runs, cursor = await page_of_runs(
        call,
        call.query.get("cursor", ""),
        call.number("limit", 100, 1, 1000),
        service=call.query.get("service"),
        states=_states(call.query.get("state", "")),
        bucket=call.query.get("bucket"),
        key=call.query.get("key"),
        since=call.time("since"),
    )
    return answer(views.Jobs(job_views(call, runs), cursor))


async def page_of_runs(call: RequestContext, cursor: str, size: int, **conditions: Any) -> tuple[list[Run], str]:
    """A page of runs, newest first, and the cursor of the next page ("" = this is the last). Raises ApiError 422."""
    try:
        runs = await asyncio.to_thread(call.invoker.ledger.runs, before=cursor or None, limit=size + 1, **conditions)
    except ValueError:
        raise bad_cursor(cursor) from None
    return runs[:size], cursor_of(runs[size - 1]) if len(runs) > size else ""


def _states(text: str) -> list[RunState] | None:
    """States of a comma-separated list; None = all. Raises ApiError 422."""
    states = []
    for name in filter(None, text.split(",")):
        if name not in list(RunState):
            raise invalid("query.state", name, f"{name!r} is not a state", f"known are: {', '.join(RunState)}")
        states.append(RunState(name))
    return states or None


async def get_job(call: RequestContext) -> Response:
    """One job with its attempts and what it wrote."""
    run = await the_run(call)
    attempts, found = await asyncio.to_thread(_history, call, run)
    wait = call.invoker.waits.of([run]).get(run.id)
    return answer(present.job_detail(run, attempts, found, wait, call.invoker.waits.progress(run)))


def _history(call: RequestContext, run: Run) -> tuple[list[Attempt], present.Results]:
    attempts = call.invoker.ledger.attempts(run.id)
    return attempts, results.of_run(call.invoker, run, attempts)


async def get_log(call: RequestContext) -> Response:
    """The log of an attempt, by default of the latest."""
    attempt = call.optional_number("attempt", 1, 1_000_000)
    tail = call.optional_number("tail", 0, 1_000_000)
    offset = call.optional_number("offset", 0, 10**15)
    if tail is not None and offset is not None:
        raise invalid("query.tail", tail, "tail and offset exclude each other", "give one of them")
    run = await the_run(call)
    return await log_answer(call, run.id, attempt, tail, offset)


async def log_answer(
    call: RequestContext, run_id: str, attempt: int | None, tail: int | None = None, offset: int | None = None
) -> Response:
    """A log as text, with the offset at which it goes on. Raises NotFound when there is none."""
    found = await call.invoker.invocations.log(run_id, attempt, tail, offset)
    if found is None:
        which = "" if attempt is None else f" of attempt {attempt}"
        raise NotFound(f"job {run_id} has no log{which}")
    headers = {} if found.end is None else {LOG_HEADER: str(found.end)}
    return StreamingResponse(found.chunks, headers=headers, media_type="text/plain; charset=utf-8")


async def cancel_job(call: RequestContext) -> Response:
    """End a job. One that runs is ``cancelled`` a moment later."""
    run = await call.invoker.invocations.cancel(call.param("id"))
    if run.state in ENDED and run.state is not RunState.CANCELLED:
        raise ApiError(409, f"job {run.id} has ended before, it is {run.state}")
    return answer(job_view(call, run))


async def retry_job(call: RequestContext) -> Response:
    """Queue a job again that did not succeed."""
    return answer(job_view(call, await call.invoker.invocations.retry(call.param("id"))))


async def replay_job(call: RequestContext) -> Response:
    """Queue an ended job again, whatever its end was."""
    return answer(job_view(call, await call.invoker.invocations.replay(call.param("id"))))


async def the_run(call: RequestContext) -> Run:
    run = await asyncio.to_thread(call.invoker.ledger.run, call.param("id"))
    if run is None:
        raise NotFound(f"job {call.param('id')} does not exist")
    return run


async def why(call: RequestContext) -> Response:
    """What became of an object, for each service concerned, newest revision first."""
    bucket, key = call.query.get("bucket", ""), call.query.get("key", "")
    for name, value in (("bucket", bucket), ("key", key)):
        if not value:
            raise invalid(f"query.{name}", None, f"{name} is missing", "give bucket and key")
    limit, cursor = call.number("limit", 100, 1, 1000), call.query.get("cursor", "")
    try:
        found = await call.invoker.invocations.why(bucket, key, call.query.get("service", ""), limit, cursor)
    except ValueError:
        raise bad_cursor(cursor) from None
    shown = [views.AnswerView(one.service, one.answer, one.detail, one.job) for one in found.answers]
    return answer(views.Why(bucket, key, shown, found.cursor))


async def backlog(call: RequestContext) -> Response:
    """What would start now if there were room, for whoever provides room, and what all queued jobs wait for."""
    rows = [present.backlog_row(row) for row in await call.invoker.backlog()]
    waiting = await asyncio.to_thread(call.invoker.waits.queued)
    return answer(views.Backlog(rows, [present.waiting_view(row) for row in waiting]))


async def get_outputs(call: RequestContext) -> Response:
    """What the last attempt of a job wrote, or another one, by page."""
    attempt = call.optional_number("attempt", 1, 1_000_000)
    limit = call.number("limit", 1000, 1, results.PAGE)
    after = call.number("cursor", 0, 0, 10**9)
    run = await the_run(call)
    return answer(await asyncio.to_thread(results.page, call.invoker, run, attempt, after, limit))


async def get_chain(call: RequestContext) -> Response:
    """The jobs that led to this one and those that it set off, as far as the ledger knows them."""
    run = await the_run(call)
    runs, links, complete = await asyncio.to_thread(results.chain, call.invoker, run)
    return answer(views.Chain(job_views(call, runs), links, complete))


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
    Parameter("tail", "only so many lines at the end", "integer"),
    Parameter("offset", "only what is behind so many bytes; Log-Offset of an answer says where to go on", "integer"),
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
        start_job,
        "Start a job with any body",
        "service",
        views.Job,
        202,
        "start",
        BYTES,
        errors=(404, 422),
    ),
    Route("GET", "/v2/jobs", list_jobs, "Jobs, newest first", "job", views.Jobs, parameters=_LIST, errors=(422,)),
    Route("GET", "/v2/jobs/{id}", get_job, "One job with its attempts", "job", views.JobDetail, errors=(404,)),
    Route("GET", "/v2/jobs/{id}/log", get_log, "Log of a job", "job", TEXT, parameters=_LOG, errors=(404, 422)),
    Route(
        "GET",
        "/v2/jobs/{id}/outputs",
        get_outputs,
        "What a job wrote",
        "job",
        views.Outputs,
        parameters=_OUTPUTS,
        errors=(404, 422),
    ),
    Route("GET", "/v2/jobs/{id}/chain", get_chain, "Jobs before and after", "job", views.Chain, errors=(404,)),
    Route("POST", "/v2/jobs/{id}:cancel", cancel_job, "End a job", "job", views.Job, errors=(404, 409)),
    Route("POST", "/v2/jobs/{id}:retry", retry_job, "Queue a failed job again", "job", views.Job, errors=(404, 409)),
    Route("POST", "/v2/jobs/{id}:replay", replay_job, "Queue an ended job again", "job", views.Job, errors=(404, 409)),
    Route("GET", "/v2/why", why, "Why a file did or did not run", "job", views.Why, parameters=_WHY, errors=(422,)),
    Route("GET", "/v2/backlog", backlog, "Work that waits for room", "figures", views.Backlog),
    Route(
        "POST",
        "/job/{name}",
        start_oscar_job,
        "Start a job (OSCAR)",
        "service",
        status=201,
        verb="start",
        request=BYTES,
        errors=(404,),
    ),
    Route(
        "POST",
        "/run/{name}",
        run_synchronously,
        "Synchronous invocation, not available (OSCAR)",
        "service",
        TEXT,
        status=501,
        verb="start",
        request=BYTES,
        errors=(404,),
    ),
)
