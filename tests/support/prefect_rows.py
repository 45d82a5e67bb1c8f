"""Everything that the run's Prefect server has written into its database."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg2

from tests.support.waiting import eventually
from visibility.store import embedded

WRITTEN_AT = ("updated", "received", "created", "timestamp")  # the column that says when a row was written, by rank
COLUMNS = """
    SELECT table_name, array_agg(column_name::text) FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' GROUP BY table_name
"""
ENDED = "SELECT count(*) FROM events WHERE resource_id = %s AND event ~ 'flow-run[.](Completed|Failed|Crashed)'"


def prefect_database_url() -> str:
    """Return libpq's URL of the database behind the run's Prefect server."""
    if given := os.environ.get("TEST_SERVER_URL"):
        parts = urlsplit("postgresql://" + given.partition("://")[2])
        return urlunsplit(parts._replace(path=f"{parts.path or '/visibility'}_prefect"))
    return embedded.url(Path(os.environ["TEST_RUN_FOLDER"]) / "data", "prefect").replace("+psycopg2", "")


def rows_since(started: datetime) -> dict[str, str]:
    """Return all columns of all rows written since a moment, as lines of JSON by table."""
    texts = {}
    with closing(psycopg2.connect(prefect_database_url())) as connection, connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        for table, columns in cursor.fetchall():
            found = [name for name in WRITTEN_AT if name in columns]
            condition = f'WHERE "{found[0]}" >= %(started)s' if found else ""
            cursor.execute(f'SELECT row_to_json(one)::text FROM "{table}" one {condition}', {"started": started})
            texts[table] = "\n".join(text for (text,) in cursor.fetchall())
    return texts


def wait_for_last_event(flow_run_id: UUID) -> None:
    """Wait until the event of the run's end is stored: events come a little after what they tell of."""
    eventually(lambda: _count(ENDED, f"prefect.flow-run.{flow_run_id}"))


def _count(statement: str, *parameters: Any) -> int:
    with closing(psycopg2.connect(prefect_database_url())) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        ((number,),) = cursor.fetchall()
    return int(number)
