"""An old database beside ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.legacy import SCHEMA, writing
from visibility.legacy.history import Days
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
def day() -> date:
    """A day of the old system: the day before yesterday."""
    return TODAY - timedelta(days=2)
