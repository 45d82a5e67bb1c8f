"""Alembic's entry: migrates over the connection it is given, else over the configured database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from visibility.settings import read_settings
from visibility.store.embedded import url_from
from visibility.store.server import sqlalchemy_url
from visibility.store.tables import Base


def run(connection: Connection) -> None:
    """All revisions in one transaction: a failing one leaves the schema as it was."""
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = create_engine(sqlalchemy_url(url_from(read_settings())))
    with engine.begin() as opened:
        run(opened)
    engine.dispose()
