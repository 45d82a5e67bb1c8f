"""The old system's Postgres, only read: one session, one snapshot, in which every write is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from visibility.errors import ConfigurationError, VisibilityError
from visibility.legacy.mapping import LegacyMapping, SourceTable, quoted, read_mapping
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
    columns: dict[str, frozenset[str] | str]
    """Of each table its columns, or why it cannot be read."""
    bytes_as_latin: bool = False
    """The server does not know its own coding: what it has is read byte by byte, and is UTF-8 or unreadable."""
    unreadable: Callable[[str, str], None] = lambda name, key: None
    kinds: dict[str, str | None] = field(default_factory=dict)

    def check(self) -> list[Finding]:
        """Return what of each table was found."""
        return [self._finding(name, table) for name, table in self.mapping.items()]

    def _finding(self, name: str, table: SourceTable | None) -> Finding:
        if table is None:
            return Finding(name, "(none)", said=False, optional=True, there=False)
        found, where = self.columns[name], table.described
        if isinstance(found, str):
            return Finding(name, where, table.said, table.optional, there=False, reason=found)
        absent = [ours for ours in table.columns if table.column(ours) not in found]
        return Finding(
            name, where, table.said, table.optional, there=True,
            missing=tuple(f"{ours} ({table.column(ours)})" for ours in absent if ours in table.needed()),
            left_out=tuple(ours for ours in absent if ours not in table.needed()),
        )  # fmt: skip

    def has(self, name: str) -> bool:
        """Whether there is such a table."""
        return not isinstance(self.columns[name], str)

    def select(self, name: str) -> str:
        """Return a SELECT of the table's rows under our names; one without rows where there is no table."""
        table, found = self.mapping[name], self.columns[name]
        if table is None or isinstance(found, str):
            names = (table or read_mapping()[name] or SourceTable(table="", columns={})).columns
            return f"SELECT {', '.join(f'NULL AS {ours}' for ours in names)} WHERE false"
        return table.select(found)

    def rows(self, name: str, column: str | None = None, values: Iterable[str] = ()) -> list[Row]:
        """Return the rows of a table, or those whose column has one of the values (as text)."""
        table = self.mapping[name]
        if table is None or not self.has(name):
            return []
        with _their_errors():
            if column is None:
                return self._run(name, self.select(name), {})
            kind = self._kind(table, column)
            if kind is None:
                return []
            # compared as the column's own type, so that an index of the old system can serve
            given = f"WHERE source.{quoted(str(table.column(column)))} = ANY(CAST(:given AS {kind}[]))"
            return self._run(name, f"{self.select(name)} {given}", {"given": list(values)})

    def _run(self, name: str, statement: str, parameters: dict[str, Any]) -> list[Row]:
        found = [dict(row) for row in self.connection.execute(text(statement), parameters).mappings()]
        return list(self._decoded(name, found)) if self.bytes_as_latin else found

    def _decoded(self, name: str, rows: list[Row]) -> Iterator[Row]:
        for row in rows:
            try:
                yield {column: _as_utf8(value) for column, value in row.items()}
            except UnicodeDecodeError:
                self.unreadable(name, str(next(iter(row.values()))))

    def _kind(self, table: SourceTable, column: str) -> str | None:
        """Return the type of a column, None for a table without rows."""
        asked = f"{table.origin}.{column}"
        if asked not in self.kinds:
            statement = (
                f"SELECT pg_typeof(source.{quoted(str(table.column(column)))})::text FROM {table.origin} LIMIT 1"
            )
            kind: str | None = self.connection.execute(text(statement)).scalar()
            self.kinds[asked] = "bpchar" if kind == "character" else kind  # which alone would mean one character
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
                bytes_as_latin = _read_as_utf8(connection)
                _only_read(connection)
                columns = {
                    name: "(none)" if table is None else _columns(connection, table) for name, table in mapping.items()
                }
            yield LegacyDatabase(connection, mapping, columns, bytes_as_latin)
    finally:
        engine.dispose()


def _read_as_utf8(connection: Connection) -> bool:
    """Set the coding of what is read, whatever the environment says; True when the server does not know its own."""
    unknown = connection.execute(text("SHOW server_encoding")).scalar_one() == "SQL_ASCII"
    connection.rollback()
    raw: Any = connection.connection.dbapi_connection
    raw.set_client_encoding("LATIN1" if unknown else "UTF8")
    return bool(unknown)


def _as_utf8(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_utf8(part) for part in value]
    return value.encode("latin-1").decode("utf-8") if isinstance(value, str) else value


def _only_read(connection: Connection) -> None:
    """One snapshot, so that a balance and its charges belong to the same moment."""
    connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"))
    connection.execute(text("SET TIME ZONE 'UTC'"))
    connection.execute(text("SET idle_in_transaction_session_timeout = 0"))  # while ours is written
    connection.commit()


def _columns(connection: Connection, table: SourceTable) -> frozenset[str] | str:
    """Return the names of the table's columns, or why it cannot be read."""
    try:
        with connection.begin_nested():
            return frozenset(connection.execute(text(f"SELECT * FROM {table.origin} LIMIT 0")).keys())
    except DBAPIError as error:
        code = getattr(error.orig, "pgcode", "") or ""
        if table.query is not None and code.startswith("42"):  # a query over what is not there, or that is none
            return (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        if code in (*UNDEFINED, NOT_PERMITTED):
            return "no such table, or no right to read it"
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
