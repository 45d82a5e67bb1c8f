"""A statement of the product that fails while a test wants it to."""

from __future__ import annotations

from tests.support.end_state import execute
from visibility.store.database import Database


def break_statement(database: Database, table: str, event: str, when: str = "true", says: str = "'broken'") -> None:
    """Let every such statement fail, with an error that no retry repairs."""
    execute(
        database,
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', {says}; END $$",
    )
    execute(
        database,
        f"CREATE TRIGGER refusing BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()",
    )


def repair_statement(database: Database) -> None:
    """Let it work again."""
    execute(database, "DROP FUNCTION refuse CASCADE")
