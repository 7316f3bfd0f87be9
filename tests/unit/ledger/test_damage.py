# SPDX-License-Identifier: Apache-2.0
"""Rows that a crash or a hand has spoiled harm nobody but themselves, and end with a reason."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from parts.ledger_facts import begin, end, event, ids, queue, recording, run_to, store, stored
from sqlalchemy import create_engine, text

from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, job_name
from oscar_fedcloud.ledger import BadValue, Ledger, RunTransition, StateError

NUMBERS = ("event_order", "size", "depth", "attempts", "script_failures", "infra_failures")
TIMES = ("not_before", "created", "finished")
TEXTS = ("provider", "bucket", "revision", "etag", "version_id", "time", "via", "detail", "state", "reason", "asked")
_COUNTS = ("depth", "attempts", "script_failures", "infra_failures")
Odd = dict[tuple[str, ...], list[str]]
ODD_IN_SQLITE: Odd = {
    NUMBERS: ["'odd'", "-1", "9223372036854775807", "1e308"],
    TIMES: ["'odd'", "x'00'", "9e999", "-1"],
    TEXTS: ["x'ff00'", "''", "7", "CAST(x'ff41' AS TEXT)"],
    ("record", "key"): ["''", "'odd'", "7"],
}
ODD_IN_POSTGRESQL: Odd = {
    TIMES: ["'NaN'", "'Infinity'", "'-Infinity'", "1e308", "-1"],
    ("event_order", "size"): ["-1", "9223372036854775807"],
    _COUNTS: ["-1", "2147483647"],
    ("via", "state", "asked", "provider", "bucket"): ["'odd'", "''"],
    ("record", "key"): [r"'\xff00'::bytea", "''::bytea"],
}


def spoil(url: str, statement: str, **values: Any) -> None:
    """Change a row behind the ledger's back; what the table's own rules forbid stays as it is."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement), values)
    except Exception as error:
        if "NOT NULL" not in str(error):
            raise
    engine.dispose()


def _look_everywhere(ledger: Ledger, spoiled: Run) -> None:
    """Whatever reads rows gives an answer."""
    ledger.runs()
    ledger.counts()
    ledger.services_waiting()
    ledger.next_due("grayify", time.time())
    ledger.explain("photos", spoiled.event.key)
    ledger.run(spoiled.id)
    ledger.attempts(spoiled.id)
    ledger.callbacks_due(time.time() + 10, 10)
    ledger.chain(spoiled.id)
    ledger.known("minio.default", "photos", [spoiled.event])


def _each(odds: Odd) -> Iterator[tuple[str, str]]:
    for columns, values in odds.items():
        yield from itertools.product(columns, values)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The URL of an empty ledger of that kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return str(request.getfixturevalue("sqlite_url"))
        url = str(request.getfixturevalue("postgres").create_database(f"spoiled{time.time_ns()}"))
        Ledger.open(url).close()
        return url

    return make


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_spoiled_row_harms_no_other(database: Callable[[str], str], kind: str) -> None:
    url = database(kind)
    ledger = Ledger.open(url)
    for number, (column, odd) in enumerate(_each(ODD_IN_SQLITE if kind == "sqlite" else ODD_IN_POSTGRESQL)):
        service = f"s{number}"
        one, bad, other, first, wrong, last = queue(
            ledger, *(event(f"{number}/{name}", order=rank) for rank, name in enumerate("abcdef", 1)), service=service
        )
        begin(ledger, first, wrong, last)
        for run in (bad, wrong):
            spoil(url, f"UPDATE runs SET {column} = {odd} WHERE id = :id", id=run.id)
        found = {item.run.id for item in ledger.due(service, time.time(), 10)}
        assert {one.id, other.id} <= found <= {one.id, bad.id, other.id}, (column, odd)
        running = {run.id for run, _ in ledger.running() if run.service == service}
        assert {first.id, last.id} <= running, (column, odd)
        for run in (bad, wrong):
            _look_everywhere(ledger, run)
        if bad.id in found:
            begun = ledger.begin([(run.id, job_name(service, run.id, 9)) for run in (one, bad, other)], [], 1.0)
            assert {one.id, other.id} <= {run.id for run, _ in begun}, (column, odd)
        for run in (bad, wrong):
            state = ledger.run(run.id)
            assert state is not None
            assert state.state is not RunState.FAILED or state.reason, (column, odd)
        ledger.cancel_service(service)
    assert ledger.stats()["damaged_rows"] > 0
    ledger.close()


@pytest.mark.parametrize("state", ["odd", ""])
def test_an_unknown_state_is_shown_as_failed(ledger: Ledger, url: str, state: str) -> None:
    good, bad = queue(ledger, event("a"), event("b"))
    spoil(url, "UPDATE runs SET state = :state WHERE id = :id", state=state, id=bad.id)
    shown = stored(ledger, bad.id)
    assert (shown.state, shown.event.key) == (RunState.FAILED, "b")
    assert shown.reason.startswith(f"the ledger's row is damaged: state is {state!r}, not one of queued, running")
    assert set(ids(ledger.runs())) == {bad.id, good.id}


def test_a_queued_run_that_cannot_be_read_ends(ledger: Ledger, url: str) -> None:
    good, bad = queue(ledger, event("a"), event("b"))
    spoil(url, "UPDATE runs SET attempts = -7 WHERE id = :id", id=bad.id)
    assert [item.run.id for item in ledger.due("grayify", time.time(), 10)] == [good.id]
    assert ledger.counts() == {"grayify": {"queued": 1, "failed": 1}}
    assert "attempts is -7" in stored(ledger, bad.id).reason


def test_a_running_run_that_cannot_be_read_ends(ledger: Ledger, url: str) -> None:
    good, bad = queue(ledger, event("a"), event("b"))
    begin(ledger, good, bad)
    spoil(url, "UPDATE runs SET provider = '' WHERE id = :id", id=bad.id)
    assert [run.id for run, _ in ledger.running()] == [good.id]
    assert ledger.counts() == {"grayify": {"running": 1, "failed": 1}}


def test_a_running_run_without_an_attempt_ends(ledger: Ledger, url: str) -> None:
    good, bare, late = queue(ledger, event("a"), event("b"), event("c"))
    begin(ledger, good, bare, late)
    spoil(url, "DELETE FROM attempts WHERE run_id = :id", id=bare.id)
    spoil(url, "UPDATE attempts SET finished = 1 WHERE run_id = :id", id=late.id)
    assert [run.id for run, _ in ledger.running()] == [good.id]
    assert stored(ledger, bare.id).reason.endswith("the job runs, but no attempt does")
    assert stored(ledger, late.id).state is RunState.FAILED
    assert ledger.retry(bare.id, 1.0).state is RunState.QUEUED


def test_an_attempt_that_was_recorded_before_fails_its_run_alone(ledger: Ledger, url: str) -> None:
    """The count of attempts was put back by hand, so that the next one has the name of an old one."""
    good, bad, other = queue(ledger, event("a"), event("b"), event("c"))
    run_to(ledger, bad, RunState.QUEUED)
    spoil(url, "UPDATE runs SET attempts = 0 WHERE id = :id", id=bad.id)
    begun = begin(ledger, good, stored(ledger, bad.id), other)
    assert {attempt.run_id for attempt in begun} == {good.id, other.id}
    ended = stored(ledger, bad.id)
    assert ended.state is RunState.FAILED
    assert "the attempt cannot be recorded" in ended.reason


def test_attempts_are_shown_whatever_stands_there(ledger: Ledger, url: str) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    spoil(url, "UPDATE attempts SET state = 'odd', started = 1e300, limits = :odd", odd=b"[1,")
    (shown,) = ledger.attempts(run.id)
    assert (shown.state, shown.started, shown.limits) == (AttemptState.FAILED, 0.0, {})
    assert [found.job for _, found in ledger.running()] == [attempt.job]
    assert end(ledger, attempt) is not None


@pytest.mark.parametrize("record", [b"no json", b"[]", b"\xff\xfe", b'"x"', b"[" * 3000])
def test_a_record_that_is_none_fails_its_run_alone(ledger: Ledger, record: bytes) -> None:
    good, bad = queue(ledger, event("a"), event("b", record=record))
    assert [attempt.run_id for attempt in begin(ledger, good, bad)] == [good.id]
    assert "record is" in stored(ledger, bad.id).reason


def test_large_records_are_left_out_until_a_job_is_made(ledger: Ledger) -> None:
    large = b'{"x": "' + b"y" * 50_000 + b'"}'
    (run,) = queue(ledger, event(record=large))
    assert run.event.record == b""
    assert ledger.due("grayify", time.time(), 10)[0].run.event.record == b""
    begin(ledger, run)
    assert [found.event.record for found, _ in ledger.running()] == [b""]
    assert ledger.runs()[0].event.record == b""
    assert ledger.record_of(run).event.record == large


def test_a_huge_record_of_an_earlier_version_is_told(ledger: Ledger, url: str) -> None:
    (run,) = queue(ledger, event())
    spoil(url, "UPDATE runs SET record = :record", record=b'{"x": "' + b"y" * 10**6 + b'"}')
    with pytest.raises(BadValue, match="at most 64 KiB"):
        ledger.record_of(run)


def test_a_clock_that_was_put_back_delays_nothing(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    run_to(ledger, run, RunState.QUEUED, not_before=10_000.0)
    now = 10_000.0 - 604.0
    assert [item.run.id for item in ledger.due("grayify", now, 10, 600.0)] == [run.id]
    assert ledger.next_due("grayify", now, 600.0) is None
    assert ledger.due("grayify", now + 10, 10, 600.0) == []
    assert ledger.next_due("grayify", now + 10, 600.0) == 10_000.0


@pytest.mark.parametrize("when", ["'NaN'", "'Infinity'", "1e300"])
def test_a_time_that_never_comes_is_now(ledger: Ledger, url: str, when: str) -> None:
    (run,) = queue(ledger, event())
    if "sqlite" in url:
        when = "9e999" if "Inf" in when else when
    spoil(url, f"UPDATE runs SET not_before = {when}")
    assert [item.run.id for item in ledger.due("grayify", time.time(), 10)] == [run.id]
    assert ledger.next_due("grayify", time.time()) is None


def test_no_value_from_outside_raises_but_the_ledgers_own_errors(ledger: Ledger) -> None:
    """Names and numbers of requests that no database can look for."""
    (run,) = queue(ledger, event())
    for ask in (
        lambda: ledger.run("a\0b"),
        lambda: ledger.run("\ud800"),
        lambda: ledger.attempts("\0"),
        lambda: ledger.dead_letter(10**30),
        lambda: ledger.outputs(run.id, 10**30),
        lambda: ledger.outputs(run.id, None, 10**30),
        lambda: ledger.runs(service="\0"),
        lambda: ledger.cancel_queued("\0"),
        lambda: ledger.delete_run("\ud800"),
        lambda: ledger.callback_done(10**30),
    ):
        try:
            found = ask()
        except BadValue:
            continue
        assert not found


def test_begin_of_odd_names_fails_those_alone(ledger: Ledger) -> None:
    good, bad = queue(ledger, event("a"), event("b"))
    begun = ledger.begin([(good.id, "job-a"), (bad.id, "job-\0\ud800")], [], 5.0)
    assert [run.id for run, _ in begun] == [good.id]
    assert stored(ledger, bad.id).state is RunState.FAILED


def test_the_end_of_a_job_of_an_odd_name(ledger: Ledger) -> None:
    with pytest.raises((BadValue, StateError)):
        ledger.finish("job-\ud800", Completion("x", AttemptState.LOST), RunTransition(RunState.FAILED))
    assert store(ledger, recording(event("next"))) == [True]
