"""Bring a database to the schema of this version: `python -m visibility.store.migrate [--database-url URL]`.

Revisions are numbered files in `migrations/versions`, beside the package in a checkout and when installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from sqlalchemy import Connection, NullPool, create_engine, inspect, text

from visibility.errors import ConfigurationError, VisibilityError
from visibility.store.server import check_version, our_errors, sqlalchemy_url

FOLDER = Path(__file__).parents[2] / "migrations"
COMMAND = "python -m visibility.store.migrate"
ADVISORY_LOCK = 7_304_151_919


def head() -> str:
    """Return the newest revision of this version of the product."""
    revisions = sorted(path.name.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))
    if not revisions:
        raise ConfigurationError(f"The migrations are missing: {FOLDER} has none; install the project again.")
    return revisions[-1]


def current(url: str) -> str | None:
    """Return the revision of a database, None when it was never migrated."""
    with _connection(url) as connection:
        return _revision(connection)


def upgrade(url: str, target: str = "head") -> None:
    """Migrate forward, in one transaction; nothing to do is fine, as is a second process at the same time."""
    with _connection(url) as connection:
        check_version(connection)
        if _revision(connection) == head():
            return
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        _require_not_newer(_revision(connection))
        _run_alembic(connection, target)


def require_current(url: str) -> None:
    """Migrate an empty database; raise ConfigurationError when the schema of another is not ours."""
    with _connection(url) as connection:
        check_version(connection)
        revision = _revision(connection)
        empty = revision is None and not inspect(connection).get_table_names()
    if empty:
        upgrade(url)
        return
    _require_not_newer(revision)
    if revision != head():
        state = "has no schema of this product" if revision is None else f"is at revision {revision}"
        raise ConfigurationError(f"The database {state} and {head()} is needed; run `{COMMAND}` first.")


def _require_not_newer(revision: str | None) -> None:
    if revision is not None and not revision.isdigit():
        raise ConfigurationError(
            f"The database is at revision {revision}, which is not of this product; is DATABASE_URL the right one?"
        )
    if revision is not None and revision > head():
        raise ConfigurationError(
            f"The database is at revision {revision}, newer than this version of the product, which knows {head()}."
        )


def _revision(connection: Connection) -> str | None:
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _run_alembic(connection: Connection, target: str) -> None:
    from alembic import command  # here: it takes a quarter of a second, and most runs find the schema current
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    command.upgrade(config, target)


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with our_errors(), engine.begin() as connection:
        yield connection


def main(database_url: str | None = typer.Option(None, help="Postgres 14+; default: as configured")) -> None:
    """Bring the database to the schema of this version."""
    from visibility.settings import read_settings
    from visibility.store.embedded import url_from

    try:
        url = database_url or url_from(read_settings())
        before = current(url)
        upgrade(url)
    except VisibilityError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"The database was at {before or 'no revision'} and is at {current(url)}.")


if __name__ == "__main__":
    typer.run(main)
