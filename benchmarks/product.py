"""The product's flow, measured in one process as `benchmarks.bare` measures itself.

    python -m benchmarks.product --org-id … --sandbox-url … --database-url … --runs 5    prints JSON

PREFECT_API_URL must name a running server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import psutil
import psycopg2
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from benchmarks.usage import Usage, spent_since, usage_now
from flows.org_evaluation import org_evaluation
from tasks import resources
from visibility.settings import Settings

SAMPLE_SECONDS = 0.02
SAY_SECONDS = 15
CLIENTS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
DONE = (
    "SELECT count(*) FROM evaluation_batches"
    " WHERE run_date = %(run_date)s AND scope = 'org' AND status IN ('completed', 'failed')"
)


@dataclass
class Counted:
    """Statements sent by this process, and the most connections it had."""

    statements: int = 0
    connections: int = 0
    per_run: list[int] = field(default_factory=list)


@dataclass
class Progress:
    """Says on standard error, now and then, how many of a night's orgs are done, in all of its processes."""

    run_date: date
    orgs: int
    before: int | None = None
    said: float = 0.0

    def say(self, cursor: Any) -> None:
        if time.monotonic() - self.said < SAY_SECONDS:
            return
        self.said = time.monotonic()
        cursor.execute(DONE, {"run_date": self.run_date})
        (done,) = cursor.fetchone()
        self.before = done if self.before is None else self.before
        print(f"  {done - self.before:,} of {self.orgs:,} orgs done", file=sys.stderr, flush=True)


@contextmanager
def counting(
    database_url: str, sample_seconds: float = SAMPLE_SECONDS, progress: Progress | None = None
) -> Iterator[Counted]:
    """Count every statement of every engine of this process, and look at Postgres's connections meanwhile."""
    counted, ended = Counted(), threading.Event()

    def add(*arguments: Any) -> None:
        *_, parameters, _context, executemany = arguments
        one_by_one = executemany and not isinstance(parameters, dict)  # a dict: many rows in one statement
        counted.statements += len(parameters) if one_by_one else 1

    event.listen(Engine, "before_cursor_execute", add)
    watcher = threading.Thread(
        target=_watch, args=(database_url, counted, ended, sample_seconds, progress), daemon=True
    )
    watcher.start()
    try:
        yield counted
    finally:
        event.remove(Engine, "before_cursor_execute", add)
        ended.set()
        watcher.join()


def _watch(
    database_url: str, counted: Counted, ended: threading.Event, sample_seconds: float, progress: Progress | None
) -> None:
    """Sample the other clients of this database; by the driver itself, so that it is not counted."""
    parts = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(parts)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not ended.wait(sample_seconds):
                cursor.execute(CLIENTS)
                (clients,) = cursor.fetchone() or (0,)
                counted.connections = max(counted.connections, int(clients))
                if progress is not None:
                    progress.say(cursor)


@dataclass
class Measured:
    """Usage, batch and start (seconds since the epoch) of each run."""

    counted: Counted
    usages: list[Usage] = field(default_factory=list)
    batch_ids: list[UUID] = field(default_factory=list)
    began: list[float] = field(default_factory=list)


async def measure(settings: Settings, org_id: UUID, first_date: date, runs: int) -> Measured:
    """Evaluate the org once to warm up and `runs` times measured, one date each."""
    assert settings.database_url is not None
    days = (first_date + timedelta(days=number) for number in count())

    async def evaluate() -> UUID:
        return (await org_evaluation(org_id, triggered_by="benchmark", run_date=next(days))).batch_id

    async with resources.opened(settings):
        await evaluate()
        with counting(settings.database_url) as counted:
            measured = Measured(counted)
            for _ in range(runs):
                before, statements = usage_now(), counted.statements
                measured.began.append(time.time())
                measured.batch_ids.append(await evaluate())
                measured.usages.append(spent_since(before))
                counted.per_run.append(counted.statements - statements)
    return measured


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.product", description=__doc__)
    parser.add_argument("--org-id", type=UUID, required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--sandbox-url", required=True)
    parser.add_argument("--time-scale", type=float, default=60.0)
    parser.add_argument("--first-date", type=date.fromisoformat, required=True)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    settings = Settings(database_url=given.database_url).for_sandbox(given.sandbox_url, given.time_scale)
    measured = asyncio.run(measure(settings, given.org_id, given.first_date, given.runs))
    result = {
        "usages": [usage.as_dict() for usage in measured.usages],
        "began": measured.began,
        "batch_ids": [str(batch_id) for batch_id in measured.batch_ids],
        "statements": measured.counted.per_run,
        "connections": measured.counted.connections,
        "rss_mb": round(psutil.Process().memory_info().rss / 1e6),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
