# SPDX-License-Identifier: Apache-2.0
"""What the daemon knows, in the shapes that clients see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oscar_fedcloud.api import views
from oscar_fedcloud.core_types import Declared, Plan
from oscar_fedcloud.fdl import to_document
from oscar_fedcloud.jobs.shapes import BacklogRow
from oscar_fedcloud.model import Attempt, Run, StorageEvent


def time_of(seconds: float) -> str:
    """RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def service_view(declared: Declared, counts: Mapping[str, int]) -> views.Service:
    """A declared service as clients see it."""
    return views.Service(
        name=declared.service.name,
        revision=str(declared.revision),
        status=views.ServiceStatus(declared.state, declared.reason),
        document=to_document(declared.service, secrets=False),
        counts=dict(counts),
    )


def plan_view(plan: Plan, warnings: Sequence[str] = ()) -> views.PlanView:
    """A plan as clients see it; ``warnings`` are those of the documents themselves."""
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


def backlog_row(row: BacklogRow) -> views.BacklogRow:
    """A row of the backlog as clients see it."""
    return views.BacklogRow(
        count=sum(row.services.values()),
        services=dict(row.services),
        requests=dict(row.requests),
        node_selector=dict(row.node_selector),
        tolerations=[dict(each) for each in row.tolerations],
    )


def _job_fields(run: Run) -> dict[str, Any]:
    event = run.event
    return {
        "id": run.id,
        "service": run.service,
        "state": run.state,
        "reason": run.reason,
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


def job_view(run: Run) -> views.Job:
    """A run as clients see it."""
    return views.Job(**_job_fields(run))


def job_detail(run: Run, attempts: Sequence[Attempt]) -> views.JobDetail:
    """A run with its attempts."""
    return views.JobDetail(**_job_fields(run), attempt_list=[attempt_view(attempt) for attempt in attempts])


def attempt_view(attempt: Attempt) -> views.AttemptView:
    """An attempt as clients see it."""
    return views.AttemptView(
        number=attempt.number,
        job=attempt.job,
        state=attempt.state,
        exit_code=attempt.exit_code,
        reason=attempt.reason,
        started=time_of(attempt.started),
        finished=None if attempt.finished is None else time_of(attempt.finished),
        limits=dict(attempt.limits),
    )


def object_view(event: StorageEvent) -> views.Object:
    """A listing row as clients see it."""
    return views.Object(event.key, event.size, event.etag, event.revision, time_of(event.order / 1e9))
