# SPDX-License-Identifier: Apache-2.0
"""Migrations: what they make is what the queries expect, once, whoever comes first."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from parts.ledger_facts import event, recording, store
from parts.old_ledger import make_first_version
from parts.postgres import PostgresServer
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import oscar_fedcloud.ledger
from oscar_fedcloud.domain.runs import AttemptState, Completion, RunState, StoredObject
from oscar_fedcloud.ledger import Ledger, LedgerError, LedgerUnavailable, RunTransition
from oscar_fedcloud.ledger.database.engines import writer_engine
from oscar_fedcloud.ledger.database.schema import ensure_schema
from oscar_fedcloud.ledger.database.tables import SCHEMA_VERSION, metadata


def test_migrations_make_the_tables_that_the_queries_expect(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_partial_indexes_are_the_same(sqlite_url: str, tmp_path: Path) -> None:
    """Alembic does not compare their conditions; the database's own words do."""
    migrated, direct = create_engine(sqlite_url), create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    metadata.create_all(direct)
    query = "SELECT name, replace(sql, '\"', '') FROM sqlite_master WHERE sql LIKE '%INDEX%WHERE%' ORDER BY name"
    with migrated.connect() as one, direct.connect() as other:
        found = one.exec_driver_sql(query).all()
        assert found
        assert found == other.exec_driver_sql(query).all()
    migrated.dispose()
    direct.dispose()


def test_newest_migration_is_the_one_that_is_checked_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(oscar_fedcloud.ledger.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_VERSION


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_upgrade_keeps_what_is_there(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.db'}"
    else:
        url = request.getfixturevalue("postgres").create_database("upgraded")
    make_first_version(url)
    ledger = Ledger.open(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert [(run.id, attempt.job) for run, attempt in ledger.running()] == [
        ("abcdefone", "job-one"),
        ("abcdeftwo", "job-two"),
    ]
    (attempt,) = ledger.attempts("abcdefone")
    assert (attempt.summary, attempt.outputs_total) == ("", 0)
    assert ledger.outputs("abcdefone") == []
    outputs = (StoredObject("minio.default", "photos", "out", 1, "e"),)
    done = Completion("job-one", AttemptState.SUCCEEDED, 0, outputs=outputs, summary="done")
    assert ledger.finish("job-one", done, RunTransition(RunState.SUCCEEDED)) is not None
    assert ledger.outputs("abcdefone") == list(outputs)
    assert ledger.attempts("abcdefone")[0].summary == "done"
    ledger.close()


def test_current_schema_is_not_migrated(url: str) -> None:
    engine = writer_engine(url)
    assert ensure_schema(engine) is False
    engine.dispose()


def test_opening_a_current_ledger_does_not_load_alembic(sqlite_url: str) -> None:
    program = (
        "import sys; from oscar_fedcloud.ledger import Ledger; "
        f"Ledger.open({sqlite_url!r}).close(); "
        "print([name for name in sys.modules if name.split('.')[0] in ('alembic', 'psycopg', 'mako')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_schema_of_a_newer_program_is_refused(sqlite_url: str) -> None:
    with create_engine(sqlite_url, poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="'9999'"):
        Ledger.open(sqlite_url)


def test_database_that_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        Ledger.open(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}")
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        Ledger.open(f"postgresql+psycopg://oscar@/none?host={tmp_path}")


def _open_together(url: str) -> None:
    failures: list[Exception] = []

    def open_and_record(number: int) -> None:
        try:
            ledger = Ledger.open(url)
            store(ledger, recording(event(str(number))))
            ledger.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_and_record, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ledger = Ledger.open(url)
    assert len(ledger.runs()) == 4
    ledger.close()


def test_several_open_a_new_sqlite_file_at_once(tmp_path: Path) -> None:
    _open_together(f"sqlite:///{tmp_path / 'new.db'}")


def test_several_open_a_new_postgresql_database_at_once(postgres: PostgresServer) -> None:
    _open_together(postgres.create_database("together"))
