"""The old system's Postgres, only read: one session, one snapshot, in which every write is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from visibility.errors import ConfigurationError, VisibilityError
from visibility.legacy.mapping import LegacyMapping, SourceTable, quoted
from visibility.store.server import our_errors, sqlalchemy_url

Row = dict[str, Any]

UNDEFINED = ("42P01", "3F000")  # table, schema
NOT_PERMITTED = "42501"


@dataclass(frozen=True, slots=True)
class Finding:
    """What `--check` says of one table: `missing` columns of ours → theirs, or that the whole table is not there."""

    name: str
    where: str
    said: bool
    optional: bool
    there: bool
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    reason: str = ""

    @property
    def hinders(self) -> bool:
        """Whether the import cannot begin like this."""
        return bool(self.missing) or not (self.there or self.optional)


@dataclass(slots=True)
class LegacyDatabase:
    """Reads tables under our names; what the old system does not have is empty, or NULL."""

    connection: Connection
    mapping: LegacyMapping
    columns: dict[str, frozenset[str] | None]
    kinds: dict[str, str | None] = field(default_factory=dict)

    def check(self) -> list[Finding]:
        """Return what of each table was found."""
        return [self._finding(name, table) for name, table in self.mapping.items()]

    def _finding(self, name: str, table: SourceTable | None) -> Finding:
        if table is None:
            return Finding(name, "(none)", said=False, optional=True, there=False)
        found, where = self.columns[name], table.described
        if found is None:
            return Finding(
                name, where, table.said, table.optional, there=False, reason="no such table, or no right to read it"
            )
        absent = [ours for ours in table.columns if table.column(ours) not in found]
        return Finding(
            name, where, table.said, table.optional, there=True,
            missing=tuple(f"{ours} ({table.column(ours)})" for ours in absent if ours in table.needed()),
            left_out=tuple(ours for ours in absent if ours not in table.needed()),
        )  # fmt: skip

    def has(self, name: str) -> bool:
        """Whether there is such a table."""
        return self.columns[name] is not None

    def select(self, name: str) -> str:
        """Return a SELECT of the table's rows under our names; one without rows where there is no table."""
        table, found = self.mapping[name], self.columns[name]
        if table is None or found is None:
            names = [] if table is None else list(table.columns)
            return f"SELECT {', '.join(f'NULL AS {ours}' for ours in names) or 'NULL'} WHERE false"
        return table.select(found)

    def rows(self, name: str, column: str | None = None, values: Iterable[str] = ()) -> list[Row]:
        """Return the rows of a table, or those whose column has one of the values (as text)."""
        table = self.mapping[name]
        if table is None or not self.has(name):
            return []
        with _their_errors():
            if column is None:
                return self._run(self.select(name), {})
            kind = self._kind(table, column)
            if kind is None:
                return []
            # compared as the column's own type, so that an index of the old system can serve
            given = f"WHERE source.{quoted(str(table.column(column)))} = ANY(CAST(:given AS {kind}[]))"
            return self._run(f"{self.select(name)} {given}", {"given": list(values)})

    def _run(self, statement: str, parameters: dict[str, Any]) -> list[Row]:
        return [dict(row) for row in self.connection.execute(text(statement), parameters).mappings()]

    def _kind(self, table: SourceTable, column: str) -> str | None:
        """Return the type of a column, None for a table without rows."""
        asked = f"{table.origin}.{column}"
        if asked not in self.kinds:
            statement = (
                f"SELECT pg_typeof(source.{quoted(str(table.column(column)))})::text FROM {table.origin} LIMIT 1"
            )
            self.kinds[asked] = self.connection.execute(text(statement)).scalar()
        return self.kinds[asked]

    def query(self, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        """Run a statement built of `select`s."""
        with _their_errors():
            return list(self.connection.execute(text(statement), dict(parameters)).all())


@contextmanager
def opened(url: str, mapping: LegacyMapping) -> Iterator[LegacyDatabase]:
    """Open the old database for reading. Raises DatabaseUnavailable or ConfigurationError, without the URL."""
    with _their_errors():
        engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, hide_parameters=True)
    try:
        with _their_errors():
            connection = engine.connect()
        with connection:
            with _their_errors():
                _only_read(connection)
                columns = {
                    name: None if table is None else _columns(connection, table) for name, table in mapping.items()
                }
            yield LegacyDatabase(connection, mapping, columns)
    finally:
        engine.dispose()


def _only_read(connection: Connection) -> None:
    """One snapshot, so that a balance and its charges belong to the same moment."""
    connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"))
    connection.execute(text("SET TIME ZONE 'UTC'"))
    connection.execute(text("SET idle_in_transaction_session_timeout = 0"))  # while ours is written
    connection.commit()


def _columns(connection: Connection, table: SourceTable) -> frozenset[str] | None:
    """Return the names of the table's columns, None where it cannot be read."""
    try:
        with connection.begin_nested():
            return frozenset(connection.execute(text(f"SELECT * FROM {table.origin} LIMIT 0")).keys())
    except DBAPIError as error:
        code = getattr(error.orig, "pgcode", "") or ""
        if code in UNDEFINED or code == NOT_PERMITTED:
            return None
        if table.query is not None and code.startswith("42"):  # a query over what is not there
            return None
        raise


@contextmanager
def _their_errors() -> Iterator[None]:
    """As for our own database, but the sentence says which one is meant."""
    try:
        with our_errors():
            yield
    except VisibilityError as error:
        raise type(error)(error.message.replace("DATABASE_URL", "LEGACY_DATABASE_URL")) from error
    except DBAPIError as error:
        reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        raise ConfigurationError(f"The old database refuses to be read: {reason}. Adapt --mapping.") from error
