# SPDX-License-Identifier: Apache-2.0
"""The little that SQLite and PostgreSQL spell differently: inserts that skip what is there, and lists as one parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import Dialect, Insert, Table, TableValuedAlias, Text, bindparam, column, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect


def insert_new(dialect: Dialect, table: Table) -> Insert:
    """INSERT … ON CONFLICT DO NOTHING."""
    if dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_sql(dialect: Dialect, table: Table) -> str:
    """``insert_new`` as a statement for the driver, with one positional parameter for each column but an automatic number.

    Rows given to it as tuples need no work by SQLAlchemy, which is most of the cost of an event otherwise.
    """
    kind = cast("type[DefaultDialect]", type(dialect))
    driver = kind(paramstyle="qmark" if dialect.name == "sqlite" else "format")
    columns = [item for item in table.c if item is not table.autoincrement_column]
    values = {item.name: bindparam(item.name, type_=item.type) for item in columns}
    return str(insert_new(dialect, table).values(values).compile(dialect=driver))


def among(dialect: Dialect, text: str) -> str:
    """The condition that a text column has one of the values of ``as_list``. The statement is the same for any number."""
    if dialect.name == "sqlite":
        return f"{text} IN (SELECT value FROM json_each(?))"
    return f"{text} = ANY(%s)"


def as_list(dialect: Dialect, ids: Iterable[str]) -> tuple[Any]:
    """The parameter of ``among``; ids consist of letters and digits."""
    if dialect.name == "sqlite":
        return ('["' + '","'.join(ids) + '"]',)
    return (list(ids),)


def values_table(dialect: Dialect, values: Sequence[str]) -> TableValuedAlias:
    """The values as rows with one column, ``value``."""
    if dialect.name == "sqlite":
        return func.json_each(as_list(dialect, values)[0]).table_valued(column("value", Text), name="given")
    return func.unnest(bindparam("given", list(values), postgresql.ARRAY(Text))).table_valued(
        column("value", Text), name="given"
    )
