# SPDX-License-Identifier: Apache-2.0
"""Outputs of jobs and the links between jobs, as recorded by the ledger. All functions block."""

from __future__ import annotations

from collections.abc import Sequence

from oscar_fedcloud.api.v2 import serializers, views
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.runs import Attempt, Run, StoredObject

PAGE = 1000  # outputs in one response


def of_run(invoker: Invoker, run: Run, attempts: Sequence[Attempt]) -> serializers.Results:
    """Return what the last attempt of a run wrote, and the job that wrote its input."""
    last = attempts[-1] if attempts else None
    outputs = _outputs(invoker, run.id, last.number, 0, PAGE) if last else []
    total = max(last.outputs_total, len(outputs)) if last else 0
    origin = invoker.ledger.origin(run)
    return serializers.Results(outputs, total, folders_of(invoker, run.service), origin.id if origin else None)


def page(invoker: Invoker, run: Run, attempt: int | None, after: int, limit: int) -> views.Outputs:
    """Return a page of what an attempt (None for the last) wrote, skipping the first ``after`` objects."""
    known = [one for one in invoker.ledger.attempts(run.id) if attempt in (None, one.number)]
    found = _outputs(invoker, run.id, known[-1].number, after, limit + 1) if known else []
    folders = folders_of(invoker, run.service)
    shown = [serializers.output_view(one, folders) for one in found[:limit]]
    total = max(known[-1].outputs_total, after + len(found)) if known else 0
    return views.Outputs(outputs=shown, total=total, cursor=str(after + limit) if len(found) > limit else "")


def chain(invoker: Invoker, run: Run) -> tuple[list[Run], list[views.Link], bool]:
    """Return the jobs linked to a run by what they wrote and read, the links, and whether these are complete."""
    found = invoker.ledger.chain(run.id)
    links = [
        views.Link(source=one.source, to=one.target, provider=one.provider, bucket=one.bucket, key=one.key)
        for one in found.links
    ]
    return list(found.runs) or [run], links, found.complete


def folders_of(invoker: Invoker, service: str) -> list[tuple[str, str, str]]:
    """Return provider, bucket and key prefix of each output of a service."""
    declared = invoker.catalogue.declared(service)
    outputs = declared.service.output if declared else ()
    return [(one.storage_provider, one.bucket, f"{one.folder}/" if one.folder else "") for one in outputs]


def _outputs(invoker: Invoker, run_id: str, attempt: int, after: int, limit: int) -> list[StoredObject]:
    return invoker.ledger.outputs(run_id, attempt, after, limit)
