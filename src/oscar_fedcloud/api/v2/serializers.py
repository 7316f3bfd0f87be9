# SPDX-License-Identifier: Apache-2.0
"""Converts the daemon's data to the views that clients see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.dispatch.backlog import BacklogRow
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Attempt, Run, StoredObject
from oscar_fedcloud.domain.services import Declared, Plan
from oscar_fedcloud.fdl import to_document
from oscar_fedcloud.invocations.wait_reasons import Wait, WaitingJobs


@dataclass(frozen=True, slots=True)
class Results:
    """What a job wrote, and the job that wrote its input.

    Attributes:
        outputs: the objects in the order in which they were written.
        total: how many there are.
        folders: provider, bucket and key prefix of the outputs of the job's service.
        origin: the id of the job that wrote the input.
    """

    outputs: Sequence[StoredObject]
    total: int
    folders: Sequence[tuple[str, str, str]]
    origin: str | None


def time_of(seconds: float) -> str:
    """Return RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def service_view(declared: Declared, counts: Mapping[str, int]) -> views.Service:
    """Return the view of a declared service."""
    return views.Service(
        name=declared.service.name,
        revision=str(declared.revision),
        status=views.ServiceStatus(declared.state, declared.reason),
        document=to_document(declared.service, secrets=False),
        counts=dict(counts),
    )


def plan_view(plan: Plan, warnings: Sequence[str] = ()) -> views.PlanView:
    """Return the view of a plan; ``warnings`` are those of the documents."""
    items = [
        views.PlanItem(
            name=item.name,
            action=item.action,
            before=None if item.before is None else dict(item.before),
            after=None if item.after is None else dict(item.after),
            changes=[views.LeafChange(change.path, change.before, change.after) for change in item.changes],
            revision=str(item.revision),
        )
        for item in plan.items
    ]
    return views.PlanView(plan.changed, items, [*warnings, *plan.warnings])


def waiting_view(row: WaitingJobs) -> views.Waiting:
    """Return the view of queued jobs of a service that wait for the same thing."""
    return views.Waiting(row.service, row.code, row.count, row.detail)


def backlog_row(row: BacklogRow) -> views.BacklogRow:
    """Return the view of a backlog row."""
    return views.BacklogRow(
        count=sum(row.services.values()),
        services=dict(row.services),
        requests=dict(row.requests),
        node_selector=dict(row.node_selector),
        tolerations=[dict(each) for each in row.tolerations],
    )


def _job_fields(run: Run, wait: Wait | None, progress: str) -> dict[str, Any]:
    event = run.event
    return {
        "id": run.id,
        "service": run.service,
        "state": run.state,
        "reason": progress or (wait.detail if wait else run.reason),
        "waiting": views.Wait(wait.code, wait.detail) if wait else None,
        "provider": event.provider,
        "bucket": event.bucket,
        "key": event.key,
        "revision": event.revision,
        "size": event.size,
        "etag": event.etag,
        "attempts": run.attempts,
        "created": time_of(run.created),
        "finished": None if run.finished is None else time_of(run.finished),
        "depth": event.depth,
        "via": event.via,
    }


def job_view(run: Run, wait: Wait | None = None, progress: str = "") -> views.Job:
    """Return the view of a run. ``progress`` is what delays a running job, according to its launcher."""
    return views.Job(**_job_fields(run, wait, progress))


def job_detail(
    run: Run,
    attempts: Sequence[Attempt],
    results: Results,
    wait: Wait | None = None,
    progress: str = "",
) -> views.JobDetail:
    """Return the view of a run with its attempts and results."""
    return views.JobDetail(
        **_job_fields(run, wait, progress),
        attempt_list=[attempt_view(attempt) for attempt in attempts],
        outputs=[output_view(one, results.folders) for one in results.outputs],
        outputs_total=results.total,
        summary=attempts[-1].summary if attempts else "",
        origin=results.origin,
    )


def output_view(found: StoredObject, folders: Sequence[tuple[str, str, str]]) -> views.Output:
    """Return the view of an object that a job wrote.

    ``folders`` are provider, bucket and prefix of the service's outputs.
    """
    return views.Output(
        provider=found.provider,
        bucket=found.bucket,
        key=found.key,
        name=name_of(found, folders),
        size=found.size,
        etag=found.etag,
    )


def name_of(found: StoredObject, folders: Sequence[tuple[str, str, str]]) -> str:
    """Return the key below the folder of the output that contains it, else the last part of the key."""
    place = (found.provider, found.bucket)
    fits = [prefix for *where, prefix in folders if tuple(where) == place and found.key.startswith(prefix)]
    return found.key[len(max(fits, key=len)) :] if fits else found.key.rpartition("/")[2]


def attempt_view(attempt: Attempt) -> views.AttemptView:
    """Return the view of an attempt."""
    return views.AttemptView(
        number=attempt.number,
        job=attempt.job,
        state=attempt.state,
        exit_code=attempt.exit_code,
        reason=attempt.reason,
        started=time_of(attempt.started),
        finished=None if attempt.finished is None else time_of(attempt.finished),
        limits=dict(attempt.limits),
        summary=attempt.summary,
    )


def object_view(event: StorageEvent) -> views.Object:
    """Return the view of a listing row."""
    return views.Object(event.key, event.size, event.etag, event.revision, time_of(event.order / 1e9))
