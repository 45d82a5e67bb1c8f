"""Reaching a Postgres server: its URL, its version, and its refusals in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from visibility.errors import ConfigurationError, DatabaseUnavailable, RetryableError, UnsupportedDatabase

MINIMUM_SERVER_VERSION = 140000
CONNECT_TIMEOUT_SECONDS = 10
NOT_A_URL = "DATABASE_URL is not a Postgres URL such as postgresql://user:password@host:5432/name."
NOT_ENCODED = f"{NOT_A_URL} Special characters of the password are percent-encoded: %40 for an @."
REFUSALS = (  # libpq gives no code for a refused connection, only the text; what waiting cannot repair
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "not permitted to log in",
    "permission denied for database",
    "invalid connection option",
    "invalid dsn",
    "invalid port number",
)
TRANSACTION_CONFLICT = "40"  # first two characters of the codes of deadlocks and serialisation failures


def sqlalchemy_url(url: str) -> URL:
    """Return the URL with our driver; raises ConfigurationError for anything but Postgres. Never shows the URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is none, such as the end of a password
        raise ConfigurationError(NOT_ENCODED) from None
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise ConfigurationError(NOT_A_URL)
    if "@" in f"{parsed.host}{parsed.database}":  # the end of a password, which libpq's errors would quote as a host
        raise ConfigurationError(NOT_ENCODED)
    defaults = {"connect_timeout": str(CONNECT_TIMEOUT_SECONDS), "fallback_application_name": "senso-workflows"}
    query = {name: value for name, value in defaults.items() if name not in parsed.query}
    return parsed.set(drivername="postgresql+psycopg2").update_query_dict(query)


@contextmanager
def our_errors() -> Iterator[None]:
    """Translate lost and refused connections; errors of statements pass unaltered.

    Raises DatabaseUnavailable, ConfigurationError (user, password, database), RetryableError (deadlock).
    """
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("All database connections have been busy for too long.") from error
    except DBAPIError as error:
        reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        if (getattr(error.orig, "pgcode", None) or "").startswith(TRANSACTION_CONFLICT):
            raise RetryableError(f"Postgres ended this transaction for another one: {reason}.") from error
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"The connection to Postgres was lost: {reason}.") from error
        if error.statement is None and any(refusal in reason for refusal in REFUSALS):
            raise ConfigurationError(f"Postgres refuses DATABASE_URL: {reason}.") from error
        if error.statement is None:
            raise DatabaseUnavailable(f"Postgres cannot be reached: {reason}.") from error
        raise


def check_version(connection: Connection) -> None:
    """Raise UnsupportedDatabase when the server is older than we support."""
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if version < MINIMUM_SERVER_VERSION:
        raise UnsupportedDatabase(
            f"Postgres {version // 10000} is too old; {MINIMUM_SERVER_VERSION // 10000} or newer is needed."
        )
