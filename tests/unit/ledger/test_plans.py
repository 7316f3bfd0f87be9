# SPDX-License-Identifier: Apache-2.0
"""No query of the daily work reads a whole table: the databases' own plans of what the ledger sends."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from parts.ledger_facts import event, queue
from parts.postgres import PostgresServer
from sqlalchemy import Engine, create_engine
from sqlalchemy import event as hooks

from oscar_fedcloud.domain.runs import Run, RunState, run_id
from oscar_fedcloud.ledger import Ledger, trace_cursor

NOW = time.time()
EVENTS = [event(str(number)) for number in range(100)]
RUN = Run("abc", "grayify", event(), RunState.QUEUED, "", 0, 0, 0, 0.0, NOW, None)
CURSOR = "1700000000.0~abcdefghijklmnopqr"

QUERIES: dict[str, tuple[Callable[[Ledger], Any], set[str]]] = {
    "due": (lambda ledger: ledger.due("grayify", NOW, 10), {"runs_queue", "runs_id"}),
    "next_due": (lambda ledger: ledger.next_due("grayify", NOW), {"runs_later"}),
    "services_waiting": (lambda ledger: ledger.services_waiting(), {"runs_queue"}),
    "running": (lambda ledger: ledger.running(), {"runs_running"}),
    "counts": (lambda ledger: ledger.counts(), {"runs_queue", "runs_begun"}),
    "counts of one": (lambda ledger: ledger.counts("grayify"), {"runs_queue", "runs_begun"}),
    "run": (lambda ledger: ledger.run("abc"), {"runs_id"}),
    "attempts": (lambda ledger: ledger.attempts("abc"), {"attempts"}),
    "attempt_by_job": (lambda ledger: ledger.attempt_by_job("job"), {"attempts_job"}),
    "runs of a service": (lambda ledger: ledger.runs(service="grayify", before=CURSOR), {"runs_service"}),
    "runs of a key": (lambda ledger: ledger.runs(bucket="b", key="k"), {"runs_id"}),
    "failed runs": (lambda ledger: ledger.runs(service="a", states=[RunState.FAILED]), {"runs_begun"}),
    "explain": (lambda ledger: ledger.explain("b", "k"), {"runs_id", "events", "seen"}),
    "explain a page": (lambda ledger: ledger.explain("b", "k", 10, "5~abc"), {"runs_id", "events", "seen"}),
    "known": (lambda ledger: ledger.known("p", "b", EVENTS), {"runs_id", "events", "seen"}),
    "known_for": (lambda ledger: ledger.known_for("grayify", EVENTS), {"runs_id", "seen"}),
    "prune": (lambda ledger: ledger.prune(NOW), {"runs_finished", "events_received"}),
    "outputs": (lambda ledger: ledger.outputs("abc"), {"outputs", "runs_id"}),
    "origin": (lambda ledger: ledger.origin(RUN), {"outputs_place", "runs_id"}),
    "chain": (lambda ledger: ledger.chain(run_id("grayify", event())), {"outputs_place", "outputs", "runs_id"}),
    "callbacks": (lambda ledger: ledger.callbacks_due(NOW, 5), {"callbacks_due", "runs_id"}),
}

COVERED = {"next_due", "services_waiting", "counts", "counts of one"}  # read for many rows: no look at the table


@pytest.fixture
def sent() -> Iterator[list[tuple[str, Any]]]:
    """Statements that SQLAlchemy sends, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    hooks.listen(Engine, "before_cursor_execute", note)
    yield statements
    hooks.remove(Engine, "before_cursor_execute", note)


def _plan(url: str, statements: list[tuple[str, Any]]) -> list[str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return [
            row[3]
            for statement, parameters in statements
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def _index(step: str) -> str:
    """The index of a step such as ``SEARCH runs USING INDEX runs_id (id=?)``; the table for that of its primary key."""
    words = step.split()
    name = words[words.index("INDEX") + 1] if "INDEX" in words else "sqlite_autoindex"
    return words[1] if name.startswith("sqlite_autoindex") else name


@pytest.mark.parametrize("name", QUERIES)
def test_queries_use_indexes(sqlite_url: str, sent: list[tuple[str, Any]], name: str) -> None:
    query, expected = QUERIES[name]
    ledger = Ledger.open(sqlite_url)
    queue(ledger, event())
    sent.clear()
    query(ledger)
    ledger.close()
    steps = [step for step in _plan(sqlite_url, sent) if step.startswith(("SEARCH", "SCAN"))]
    if name in COVERED:
        assert all("COVERING INDEX" in step for step in steps), steps
    whole_tables = [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert [step for step in whole_tables if step.split()[1] in {"runs", "events", "seen", "attempts", "outputs"}] == []
    assert expected <= {_index(step) for step in steps}, steps


def test_a_page_of_what_became_of_a_key_is_picked_by_the_database(sqlite_url: str, sent: list[tuple[str, Any]]) -> None:
    ledger = Ledger.open(sqlite_url)
    found = [event(revision=str(number), order=number) for number in range(600)]
    queue(ledger, *found)
    ledger.record_baseline("other", found[:300])
    after = trace_cursor(ledger.explain("photos", "in/a.jpg", 100)[-1])
    sent.clear()
    assert [trace["order"] for trace in ledger.explain("photos", "in/a.jpg", 10, after)] == list(range(499, 489, -1))
    ledger.close()
    assert "LIMIT" in sent[0][0]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        assert [len(connection.execute(*one).fetchall()) for one in sent] == [10, 0, 10, 0]


_MANY_RUNS = """
    INSERT INTO runs (id, event_id, service, provider, bucket, key, revision, event_order, etag, version_id, time,
                      depth, via, record, detail, state, reason, asked, attempts, script_failures, infra_failures,
                      not_before, created)
    SELECT substr(translate(md5(n::text), '0189', 'ghij'), 1, 18), md5((-n)::text),
           CASE WHEN mod(n, 3) = 0 THEN 'other' ELSE 'grayify' END, 'p', 'b', n::text::bytea, 'r', n, '', '', '',
           0, 'durable', '{}', repeat('x', 300), CASE WHEN n > 15000 THEN 'queued' ELSE 'succeeded' END, '', '', 0,
           0, 0, 0, n
    FROM generate_series(1, 20000) AS n
"""


@pytest.fixture(scope="module")
def large_url(postgres: PostgresServer) -> str:
    """20,000 runs in PostgreSQL, of which it has statistics."""
    url = postgres.create_database("large")
    ledger = Ledger.open(url)
    ledger.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(_MANY_RUNS)
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    return url


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - COVERED))
def test_postgresql_uses_indexes(large_url: str, sent: list[tuple[str, Any]], name: str) -> None:
    ledger = Ledger.open(large_url)
    sent.clear()
    QUERIES[name][0](ledger)
    statements = list(sent)
    ledger.close()
    engine = create_engine(large_url)
    with engine.connect() as connection:
        plan = [
            row[0]
            for statement, parameters in statements
            if statement.startswith(("SELECT", "DELETE"))
            for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
        ]
    engine.dispose()
    assert plan
    assert [step for step in plan if "Seq Scan on runs" in step] == []
