"""An old database beside ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import text
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from tests.support.legacy import SCHEMA, writing
from visibility.legacy.__main__ import app
from visibility.legacy.history_reading import Days
from visibility.legacy.importing import Choices, import_legacy
from visibility.legacy.mapping import read_mapping
from visibility.legacy.report import Report
from visibility.legacy.source import opened
from visibility.store.database import Database

TODAY = datetime.now(UTC).date()


@pytest.fixture
def legacy_url(database_url: str) -> str:
    """The URL of the old system's tables, empty: a schema of its own, quicker than a database."""
    url = make_url(database_url).update_query_dict({"options": "-csearch_path=old"}).render_as_string(False)
    with writing(url) as legacy:
        legacy.run("CREATE SCHEMA old")
        legacy.run(SCHEMA)
    return url


@pytest.fixture
def take_over(database: Database, legacy_url: str) -> Callable[..., Report]:
    """Import with the given choices."""

    def run(progress: Callable[[str], Any] = lambda line: None, before: date = TODAY, **choices: Any) -> Report:
        with opened(legacy_url, read_mapping()) as source:
            given = Choices(Days(before), **choices)
            return import_legacy(database, source, given, progress)

    return run


@pytest.fixture
def cli(legacy_url: str, database_url: str) -> Callable[..., Result]:
    """Run a command on both databases."""

    def run(name: str, *options: str) -> Result:
        urls = ["--legacy-url", legacy_url, "--database-url", database_url]
        return CliRunner().invoke(app, [name, *(urls if name != "give-back" else urls[2:]), *options])

    return run


@pytest.fixture
def here(database: Database) -> Callable[..., list[tuple[Any, ...]]]:
    """Query ours."""

    def run(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with database.transaction() as session:
            return [tuple(row) for row in session.execute(text(statement), parameters)]

    return run


@pytest.fixture
def yesterday(day: date) -> date:
    """A day of whose batches the old system may still be at work."""
    return day + timedelta(days=1)


@pytest.fixture
def day() -> date:
    """A day of the old system: the day before yesterday."""
    return TODAY - timedelta(days=2)
