"""Rows as the old system has them, written into a table of ours: what is right already stays untouched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, delete, insert, inspect, select, update
from sqlalchemy.orm import Session

from visibility.legacy.report import Report
from visibility.store.tables import Base

Columns = dict[str, Any]

AT_ONCE = 2000


def put(
    session: Session, table: type[Base], rows: Sequence[Columns], report: Report, *, only_new: Collection[str] = ()
) -> None:
    """Make or alter the rows, found by primary key; columns `only_new` are written when a row is made, never later."""
    counts, key = report.counts(table.__tablename__), _key(table)
    stored = _stored(session, table, [row[key] for row in rows])
    missing = [row for row in rows if row[key] not in stored]
    altered = {}
    for row in rows:
        if (known := stored.get(row[key])) is not None:
            altered[row[key]] = {
                name: value for name, value in row.items() if name not in only_new and known[name] != value
            }
    _free_names(session, table, [row_id for row_id, values in altered.items() if "name" in values])
    _insert(session, table, missing)
    for row_id, values in altered.items():
        if values:
            session.execute(update(table).where(getattr(table, key) == row_id).values(values))
    counts.created += len(missing)
    counts.updated += sum(map(bool, altered.values()))
    counts.unchanged += sum(not values for values in altered.values())


def told_apart(name: str, key: UUID) -> str:
    """Return another name for what has one that is taken."""
    return f"{name} ({str(key)[:8]})"


def _free_names(session: Session, table: type[Base], keys: Sequence[UUID]) -> None:
    """Two may swap their names, and a name is unique at every moment."""
    column = getattr(table, _key(table))
    for part in _parts(keys):
        session.execute(update(table).where(column.in_(part)).values(name=cast(column, Text)))


def add(session: Session, table: type[Base], rows: Sequence[Columns], report: Report) -> set[UUID]:
    """Insert the rows that are not there, found by primary key; return their keys. History is never altered."""
    counts, key = report.counts(table.__tablename__), _key(table)
    stored: set[UUID] = set()
    for part in _parts([row[key] for row in rows]):
        stored |= set(session.scalars(select(getattr(table, key)).where(getattr(table, key).in_(part))))
    missing = [row for row in rows if row[key] not in stored]
    _insert(session, table, missing)
    counts.created += len(missing)
    counts.unchanged += len(rows) - len(missing)
    return {row[key] for row in missing}


def put_list(session: Session, table: type[Base], owner: Columns, rows: Sequence[Columns], report: Report) -> None:
    """Make the owner's rows exactly these; rows have the same columns, which tell them apart."""
    counts, missing = report.counts(table.__tablename__), {tuple(row.values()): row for row in rows}
    for stored in session.scalars(select(table).filter_by(**owner)):
        known = tuple(getattr(stored, name) for name in (rows[0] if rows else ()))
        if missing.pop(known, None) is None:
            session.execute(delete(table).where(_is(table, stored)))
            counts.removed += 1
        else:
            counts.unchanged += 1
    _insert(session, table, [owner | row for row in missing.values()])
    counts.created += len(missing)


def _is(table: type[Base], row: Base) -> ColumnElement[bool]:
    key = _key(table)
    return getattr(table, key) == getattr(row, key)  # type: ignore[no-any-return]


def _stored(session: Session, table: type[Base], keys: Sequence[Any]) -> dict[Any, Any]:
    key, found = _key(table), {}
    for part in _parts(keys):
        for row in session.execute(select(table.__table__).where(getattr(table, key).in_(part))).mappings():
            found[row[key]] = row
    return found


def _insert(session: Session, table: type[Base], rows: Sequence[Columns]) -> None:
    for part in _parts(rows):
        session.execute(insert(table), part)


def _parts(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), AT_ONCE):
        yield list(items[start : start + AT_ONCE])


def _key(table: type[Base]) -> str:
    return str(inspect(table).primary_key[0].name)
