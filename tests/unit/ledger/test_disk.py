# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, read-only or damaged is told as what it is, and work goes on by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parts.disk import fill, small_disk
from parts.ledger_facts import begin, end, event, queue, recording, store, stored
from sqlalchemy import make_url

from oscar_fedcloud.api.errors import as_api_error
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.ledger import Ledger, LedgerTrouble, LedgerUnavailable
from oscar_fedcloud.ledger.database.integrity import check_file
from oscar_fedcloud.ledger.database.troubles import trouble_of


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def _until_refused(ledger: Ledger) -> LedgerUnavailable:
    """What is told when events are no longer taken."""
    for number in range(1000):
        try:
            store(ledger, recording(event(f"in/{number}", record=b'{"x": "' + b"x" * 3000 + b'"}')))
        except LedgerUnavailable as error:
            return error
    raise AssertionError("the disk never became full")


def test_a_full_disk_is_named_and_survived(disk: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{disk}/ledger.db")
    (run,) = queue(ledger, event("before"))
    (attempt,) = begin(ledger, run)
    ballast = fill(disk)
    error = _until_refused(ledger)
    assert error.kind == LedgerTrouble.FULL
    assert f"the disk of the ledger {disk}/ledger.db is full: what was acknowledged is kept" in str(error)
    answer = as_api_error(error)
    assert (answer.status, str(disk) in answer.detail) == (507, True)
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="is full"):
            ledger.check()
    with pytest.raises(LedgerUnavailable, match="is full"):
        end(ledger, attempt)
    failed = ledger.stats()
    assert min(failed["failed_batches"], failed["failed_events"], failed["failed_writes"]) > 0
    assert stored(ledger, run.id).state is RunState.RUNNING
    ballast.unlink()
    ledger.check()
    assert end(ledger, attempt) is not None
    assert store(ledger, recording(event("after"))) == [True]
    assert ledger.dead_letters() == []
    ledger.close()


def test_a_disk_that_is_read_only_is_named_and_survived(disk: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{disk}/ledger.db")
    (run,) = queue(ledger, event("before"))
    ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(LedgerUnavailable, match="can be read only") as error:
        Ledger.open(f"sqlite:///{disk}/ledger.db")
    assert error.value.kind == LedgerTrouble.READ_ONLY
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    ledger = Ledger.open(f"sqlite:///{disk}/ledger.db")
    assert stored(ledger, run.id).state is RunState.QUEUED
    assert store(ledger, recording(event("after"))) == [True]
    ledger.close()


class _DriverError(Exception):
    """An error as a driver raises it."""

    def __init__(self, **codes: object) -> None:
        super().__init__("the driver's words")
        self.__dict__.update(codes)


@pytest.mark.parametrize(
    ("codes", "trouble"),
    [
        ({"sqlite_errorcode": 13}, LedgerTrouble.FULL),
        ({"sqlite_errorcode": 8}, LedgerTrouble.READ_ONLY),
        ({"sqlite_errorcode": 8 | 4 << 8}, LedgerTrouble.READ_ONLY),
        ({"sqlite_errorcode": 10 | 3 << 8}, LedgerTrouble.IO),
        ({"sqlite_errorcode": 11}, LedgerTrouble.DAMAGED),
        ({"sqlite_errorcode": 26}, LedgerTrouble.DAMAGED),
        ({"sqlite_errorcode": 5}, LedgerTrouble.AWAY),
        ({"sqlstate": "53100"}, LedgerTrouble.FULL),
        ({"sqlstate": "25006"}, LedgerTrouble.READ_ONLY),
        ({"sqlstate": "58030"}, LedgerTrouble.IO),
        ({"sqlstate": "XX001"}, LedgerTrouble.DAMAGED),
        ({"sqlstate": "08006"}, LedgerTrouble.AWAY),
        ({}, LedgerTrouble.AWAY),
    ],
)
def test_codes_of_both_databases(codes: dict[str, object], trouble: LedgerTrouble, tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/ledger.db")
    assert trouble_of(_DriverError(**codes), url) is trouble
    status = as_api_error(LedgerUnavailable("words", trouble)).status
    assert status == (507 if trouble is LedgerTrouble.FULL else 503)


def _overwrite(path: Path, begin_at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(begin_at)
        file.write(b"\xa5" * length)


@pytest.fixture
def filled(sqlite_url: str) -> Path:
    """A ledger of some hundred pages, closed."""
    ledger = Ledger.open(sqlite_url)
    queue(ledger, *(event(f"in/{number}", record=b'{"x": "' + b"x" * 2000 + b'"}') for number in range(300)))
    ledger.close()
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.mark.parametrize("begin_at", [0, 40 * 4096, 100 * 4096])
def test_a_damaged_file_is_refused_with_how_to_go_on(filled: Path, begin_at: int) -> None:
    _overwrite(filled, begin_at, 3 * 4096)
    with pytest.raises(LedgerUnavailable, match=r"is damaged.*restore a backup.*--new-ledger") as error:
        Ledger.open(f"sqlite:///{filled}")
    assert error.value.kind == LedgerTrouble.DAMAGED


def test_a_truncated_file_is_refused(filled: Path) -> None:
    os.truncate(filled, filled.stat().st_size // 2)
    with pytest.raises(LedgerUnavailable, match="is damaged"):
        Ledger.open(f"sqlite:///{filled}")


def test_the_check_of_a_large_file_is_bounded(filled: Path) -> None:
    check_file(make_url(f"sqlite:///{filled}"), seconds=0.0)


def _fail_until(ledger: Ledger, undo: Callable[[], None]) -> None:
    with pytest.raises(LedgerUnavailable):
        ledger.check()
    undo()
    ledger.check()
    assert store(ledger, recording(event("in/after"))) == [True]


def test_pages_that_are_damaged_at_run_time_are_told_until_a_batch_succeeds(filled: Path) -> None:
    """Every event fails, while the small write of a look at the database would go well."""
    sound = filled.read_bytes()
    ledger = Ledger.open(f"sqlite:///{filled}")
    _overwrite(filled, 4096 * 4, len(sound) - 4096 * 4)
    with pytest.raises(LedgerUnavailable):
        store(ledger, *(recording(event(f"in/more {number}")) for number in range(50)))
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            ledger.check()
    assert ledger.stats()["failed_batches"] >= 1
    ledger.close()


def test_reads_that_meet_damaged_pages_show_in_the_check(filled: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{filled}")
    _overwrite(filled, 4096 * 30, 4096 * 60)
    with pytest.raises(LedgerUnavailable, match="is damaged"):
        ledger.runs(limit=1000)
    with pytest.raises(LedgerUnavailable, match="is damaged"):
        ledger.check()
    ledger.close()


def test_a_file_that_is_taken_away_takes_no_more_events(sqlite_url: str, tmp_path: Path) -> None:
    """They would be stored in a file without a name, and be gone with the process."""
    ledger = Ledger.open(sqlite_url)
    store(ledger, recording(event("in/before")))
    path, away = tmp_path / "ledger.db", tmp_path / "away.db"
    path.rename(away)
    with pytest.raises(LedgerUnavailable, match="was removed or replaced"):
        store(ledger, recording(event("in/meanwhile")))
    _fail_until(ledger, lambda: path.hardlink_to(away))
    ledger.close()


def test_what_was_refused_is_tried_but_not_kept(sqlite_url: str) -> None:
    """Whoever sent it was told that it is not stored, and may send it again under another name."""
    program = (
        "import asyncio, resource, sys;"
        "from parts.ledger_facts import *; from oscar_fedcloud.ledger import LedgerUnavailable\n"
        "ledger = Ledger.open(sys.argv[1]); store(ledger, recording(event('before')))\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))\n"
        "try: store(ledger, recording(event('refused')))\n"
        "except LedgerUnavailable: pass\n"
        "else: raise SystemExit('stored')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
        "ledger.check(); print([run.event.key for run in ledger.runs()]); ledger.close()"
    )
    command = [sys.executable, "-c", program, sqlite_url]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['before']"
