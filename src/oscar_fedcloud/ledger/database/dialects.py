# SPDX-License-Identifier: Apache-2.0
"""Differences between SQLite and PostgreSQL: inserts that skip existing rows, a list as a parameter.

The hot path passes statements to the driver as text with positional parameters. Rows given as tuples need no work by
SQLAlchemy, which would otherwise be most of the cost of an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Dialect,
    Insert,
    Select,
    Table,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    column,
    func,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect


def insert_new(dialect: Dialect, table: Table) -> Insert:
    """Return INSERT … ON CONFLICT DO NOTHING."""
    if dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_sql(dialect: Dialect, table: Table) -> str:
    """Return ``insert_new`` for the driver: one parameter for each column except an automatic number."""
    columns = [item for item in table.c if item is not table.autoincrement_column]
    values = {item.name: bindparam(item.name, type_=item.type) for item in columns}
    return _driver_sql(dialect, insert_new(dialect, table).values(values))


def find_sql(dialect: Dialect, table: Table, *columns: str) -> str:
    """Return the SELECT of rows by id for the driver; its parameter is ``as_list`` of any number of ids."""
    given = _given(dialect, bindparam("ids", type_=_list_type(dialect)))
    query = select(*(table.c[name] for name in columns)).where(table.c.id.in_(select(given.c.value)))
    return _driver_sql(dialect, query)


def as_list(dialect: Dialect, values: Iterable[str]) -> Any:
    """Return a list as one parameter. The values consist of letters and digits, as ids do."""
    return '["' + '","'.join(values) + '"]' if dialect.name == "sqlite" else list(values)


def _values_table(dialect: Dialect, values: Sequence[str]) -> TableValuedAlias:
    """Return the values as a table with one column, ``value``."""
    return _given(dialect, bindparam("given", as_list(dialect, values), _list_type(dialect)))


def rows_at(
    dialect: Dialect, table: Table, places: Sequence[str], names: Iterable[str], *conditions: ColumnElement[bool]
) -> Select[Any]:
    """Return a SELECT of these columns of the rows whose ids begin with one of the places.

    It uses the index once for each place. Without the OFFSET 0, which makes PostgreSQL plan the inner SELECT
    separately, it would compare all rows with all places.
    """
    given = _values_table(dialect, places)
    here = and_(table.c.id > given.c.value, table.c.id < given.c.value + "~", *conditions)
    columns = [table.c[name] for name in names]
    if dialect.name == "sqlite":
        return select(*columns).select_from(given).join(table, here)
    found = select(*columns).where(here).offset(0).lateral("found")
    return select(found).select_from(given).join(found, true())


def _given(dialect: Dialect, parameter: BindParameter[Any]) -> TableValuedAlias:
    if dialect.name == "sqlite":
        return func.json_each(parameter).table_valued(column("value", Text), name="given")
    return func.unnest(parameter).table_valued(column("value", Text), name="given").render_derived()


def _list_type(dialect: Dialect) -> Any:
    return Text() if dialect.name == "sqlite" else postgresql.ARRAY(Text)


def _driver_sql(dialect: Dialect, statement: ClauseElement) -> str:
    kind = cast("type[DefaultDialect]", type(dialect))
    driver = kind(paramstyle="qmark" if dialect.name == "sqlite" else "format")
    return str(statement.compile(dialect=driver))
