# SPDX-License-Identifier: Apache-2.0
"""The life cycle of runs: start, end, and repetition.

Functions take a connection. Those that write are called by the writer thread, each in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from oscar_fedcloud.domain.jsontext import to_json
from oscar_fedcloud.domain.runs import Attempt, AttemptState, Completion, Run, RunState
from oscar_fedcloud.ledger import callbacks, outputs
from oscar_fedcloud.ledger.database.tables import QUEUED, RUNNING, WITH_RECORD, attempts, runs
from oscar_fedcloud.ledger.errors import StateError, cause_of, is_row_error
from oscar_fedcloud.ledger.records import RunTransition
from oscar_fedcloud.ledger.states import ENDED, RETRYABLE, allowed
from oscar_fedcloud.ledger.values import bounds, cells
from oscar_fedcloud.ledger.values.cells import BadRow
from oscar_fedcloud.ledger.values.damage import note
from oscar_fedcloud.ledger.values.rows import AnyRow, attempt_of, run_of, shown_run

_LAST_ORDER = 2**63 - 1


def begin(
    connection: Connection,
    starts: Sequence[tuple[str, str]],
    superseded: Sequence[str],
    now: float,
    policies: Mapping[str, str] = MappingProxyType({}),
) -> list[tuple[Run, Attempt]]:
    """Start runs (id, Job name) and supersede others; runs that are no longer queued are skipped.

    Args:
        policies: by service, the policy that its attempts start with.
    """
    if superseded:
        ended = {"state": RunState.SUPERSEDED.value, "finished": now, "reason": "a newer revision took its place"}
        connection.execute(update(runs).where(runs.c.id.in_(superseded), QUEUED).values(ended))
    jobs = dict(starts)
    queued = _queued(connection, jobs, now)
    if not queued:
        return []
    values = {"state": RunState.RUNNING.value, "attempts": runs.c.attempts + 1}
    connection.execute(update(runs).where(runs.c.id.in_(list(queued))).values(values))
    begun = [_begun(queued[name], job, now, policies) for name, job in jobs.items() if name in queued]
    connection.execute(insert(attempts), [_attempt_values(attempt) for _, attempt in begun])
    return begun


def begin_singly(
    connection: Connection,
    starts: Sequence[tuple[str, str]],
    superseded: Sequence[str],
    now: float,
    policies: Mapping[str, str] = MappingProxyType({}),
) -> list[tuple[Run, Attempt]]:
    """Start runs one by one after ``begin`` failed; those that the database rejects end as failed."""
    begun = begin(connection, [], superseded, now)
    for name, job in starts:
        try:
            with connection.begin_nested():
                begun += begin(connection, [(name, job)], [], now, policies)
        except Exception as error:
            if not is_row_error(error):
                raise
            fail(connection, runs.c.id == name, f"the attempt cannot be recorded: {cause_of(error)}", now)
    return begun


def fail(connection: Connection, which: ColumnElement[bool], reason: str, now: float) -> int:
    """End waiting or running runs that nothing else would end; return the number."""
    ended = {"state": RunState.FAILED.value, "reason": bounds.text(reason), "finished": now}
    alive = runs.c.state.in_([RunState.QUEUED.value, RunState.RUNNING.value])
    return connection.execute(update(runs).where(which, alive).values(ended)).rowcount


def fail_stuck(connection: Connection, stuck: Mapping[int, str], now: float) -> int:
    """End runs, given by number, whose rows are damaged."""
    return sum(fail(connection, runs.c.seq == seq, reason, now) for seq, reason in stuck.items())


def finish(
    connection: Connection, job: str, completion: Completion, transition: RunTransition, now: float
) -> Run | None:
    """Record the end of an attempt and the transition of its run; None if the end was already recorded."""
    if not allowed(RunState.RUNNING, transition.state):
        raise StateError(f"a running run cannot become {transition.state.value!r}")
    finished = bounds.moment(completion.finished, now)
    open_attempt = and_(attempts.c.job == job, attempts.c.finished.is_(None))
    query = select(attempts.c.run_id, attempts.c.number).where(open_attempt).with_for_update()
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    connection.execute(update(attempts).where(open_attempt).values(_ended_values(completion, finished)))
    outputs.add(connection, found.run_id, found.number, completion.outputs)
    _end_running(connection, found.run_id, transition, finished, now)
    run = get(connection, found.run_id)
    if run is not None and transition.callback:
        callbacks.add(connection, run, transition.callback, now)
    return run


def reorder(connection: Connection, run_id: str, order: int) -> bool:
    """Change the place of a queued run among the revisions of its object; return False if it is not queued."""
    change = update(runs).where(runs.c.id == run_id, QUEUED)
    return connection.execute(change.values(event_order=min(order, _LAST_ORDER))).rowcount > 0


def running(connection: Connection) -> list[tuple[Run, Attempt]]:
    """Return all runs with an attempt that has not ended, oldest first. Damaged ones are recorded and skipped."""
    found = {}
    for row in connection.execute(select(*WITH_RECORD).where(RUNNING)):
        try:
            found[row.id] = run_of(row)
        except BadRow as error:
            note(connection, f"run {cells.text(row.id)}", str(error), row.seq)
    current = and_(attempts.c.run_id == runs.c.id, attempts.c.number == runs.c.attempts)
    query = select(attempts).join(runs, current).where(RUNNING).order_by(attempts.c.started, attempts.c.run_id)
    return [(found[row.run_id], attempt_of(row)) for row in connection.execute(query) if row.run_id in found]


def orphans(connection: Connection) -> dict[int, str]:
    """Return running runs without an open attempt, by number, with the reason to end them."""
    current = and_(attempts.c.run_id == runs.c.id, attempts.c.number == runs.c.attempts, attempts.c.finished.is_(None))
    query = select(runs.c.seq).where(RUNNING, ~select(attempts.c.job).where(current).exists())
    return dict.fromkeys(connection.scalars(query), "the ledger's rows are damaged: the job runs, but no attempt does")


def end_orphans(connection: Connection, now: float) -> int:
    """End the runs found by ``orphans``, from one consistent read of the tables."""
    return fail_stuck(connection, orphans(connection), now)


def record_of(connection: Connection, run_id: str) -> bytes:
    """Return the event's record of a run, which lists leave out. Raises BadRow if it is not a JSON object."""
    row = connection.execute(select(runs.c.record).where(runs.c.id == run_id)).one_or_none()
    return cells.record(b"{}" if row is None else row.record)


def cancel_queued(connection: Connection, run_id: str, now: float) -> bool:
    """Cancel a run if it is still queued; return False otherwise."""
    values = {"state": RunState.CANCELLED.value, "finished": now, "reason": "cancelled"}
    return connection.execute(update(runs).where(runs.c.id == run_id, QUEUED).values(values)).rowcount > 0


def cancel_service(connection: Connection, service: str, now: float) -> int:
    """Cancel all queued runs of a service; return the number."""
    change = update(runs).where(runs.c.service == service, QUEUED)
    ended = {"state": RunState.CANCELLED.value, "finished": now, "reason": "the service was removed"}
    return connection.execute(change.values(ended)).rowcount


def ask_again(connection: Connection, run_id: str, asked: str, now: float) -> Run:
    """Queue an ended run again; ``asked`` is "retry" (not after success) or "replay"."""
    states = RETRYABLE if asked == "retry" else ENDED
    change = update(runs).where(runs.c.id == run_id, runs.c.state.in_([state.value for state in states]))
    values = {
        "state": RunState.QUEUED.value,
        "reason": "",
        "asked": asked,
        "script_failures": 0,
        "infra_failures": 0,
        "not_before": now,
        "finished": None,
    }
    changed = connection.execute(change.values(values)).rowcount
    run = get(connection, run_id)
    if run is None:
        raise StateError(f"there is no run {run_id!r}")
    if not changed:
        raise StateError(f"run {run_id!r} is {run.state.value}: no {asked} is possible")
    return run


def get(connection: Connection, run_id: str) -> Run | None:
    """Return one run, or None."""
    row = connection.execute(select(*WITH_RECORD).where(runs.c.id == run_id)).one_or_none()
    return None if row is None else shown_run(connection, row)


def attempts_of(connection: Connection, run_id: str) -> list[Attempt]:
    """Return the attempts of a run, first to last."""
    query = select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.number)
    return [attempt_of(row) for row in connection.execute(query)]


def attempt_by_job(connection: Connection, job: str) -> tuple[Run, Attempt] | None:
    """Return the attempt with this Job name and its run, or None."""
    row = connection.execute(select(attempts).where(attempts.c.job == job)).one_or_none()
    run = get(connection, row.run_id) if row is not None else None
    return None if row is None or run is None else (run, attempt_of(row))


def _queued(connection: Connection, ids: Iterable[str], now: float) -> dict[str, Run]:
    """Return those of the runs that are queued, with small records only. Damaged ones end as failed."""
    found = {}
    query = select(*WITH_RECORD).where(runs.c.id.in_(list(ids)), QUEUED).with_for_update()
    rows: list[AnyRow] = list(connection.execute(query))
    for row in rows:
        try:
            run = run_of(row)
            if run.event.record:
                cells.record(run.event.record)
            found[run.id] = run
        except BadRow as error:
            fail(connection, runs.c.seq == row.seq, str(error), now)
    return found


def _begun(queued: Run, job: str, now: float, policies: Mapping[str, str]) -> tuple[Run, Attempt]:
    run = replace(queued, state=RunState.RUNNING, attempts=queued.attempts + 1)
    policy = policies.get(run.service, "")
    return run, Attempt(run.id, run.attempts, job, AttemptState.STARTING, None, "", now, None, policy=policy)


def _attempt_values(attempt: Attempt) -> dict[str, Any]:
    return {
        "run_id": attempt.run_id,
        "number": attempt.number,
        "job": attempt.job,
        "state": attempt.state.value,
        "reason": attempt.reason,
        "started": attempt.started,
        "limits": to_json(attempt.limits),
        "policy": attempt.policy,
    }


def _ended_values(completion: Completion, finished: float) -> dict[str, Any]:
    return {
        "state": completion.state.value,
        "exit_code": bounds.exit_code(completion.exit_code),
        "reason": bounds.text(completion.reason),
        "finished": finished,
        "limits": to_json(bounds.limits(completion.limits)),
        "summary": bounds.text(completion.summary, bounds.MAX_SUMMARY),
        "outputs_total": max(bounds.count(completion.outputs_total), len(completion.outputs)),
    }


def _end_running(connection: Connection, run_id: str, transition: RunTransition, finished: float, now: float) -> None:
    values = {
        "state": transition.state.value,
        "reason": bounds.text(transition.reason),
        "not_before": bounds.moment(transition.not_before, now),
        "script_failures": runs.c.script_failures + int(transition.counts_script),
        "infra_failures": runs.c.infra_failures + int(transition.counts_infra),
        "finished": finished if transition.state in ENDED else None,
    }
    connection.execute(update(runs).where(runs.c.id == run_id, RUNNING).values(values))
