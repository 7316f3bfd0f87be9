# SPDX-License-Identifier: Apache-2.0
"""A ledger as the first version of its schema left it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import oscar_fedcloud.ledger
from oscar_fedcloud.ledger.database.engines import writer_engine

_OLD_RUN = """
    INSERT INTO runs (id, event_id, service, provider, bucket, key, revision, event_order, etag, version_id, time,
                      depth, via, record, detail, state, reason, asked, attempts, script_failures, infra_failures,
                      not_before, created)
    VALUES (:id, 'e', 'grayify', 'minio.default', 'photos', :key, 'r1', 1, '', '', '', 0, 'durable', :record, '',
            'running', '', '', 1, 0, 0, 0, 5)
"""
_OLD_ATTEMPT = """
    INSERT INTO attempts (run_id, number, job, state, reason, started, limits)
    VALUES (:id, 1, :job, 'starting', '', 6, :record)
"""


def make_first_version(url: str) -> None:
    """A database as the first version of the schema left it, with work under way."""
    config = Config()
    config.set_main_option("script_location", str(Path(oscar_fedcloud.ledger.__file__).parent / "migrations"))
    engine = writer_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for name in ("one", "two"):
            values = {"id": f"abcdef{name}", "key": name.encode(), "record": b"{}", "job": f"job-{name}"}
            connection.execute(text(_OLD_RUN), values)
            connection.execute(text(_OLD_ATTEMPT), values)
    engine.dispose()
