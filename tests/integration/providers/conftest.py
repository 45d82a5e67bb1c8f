"""A sandbox with its accounting, and batches to ask in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import event, text

from sandbox.server import RunningSandbox, serve_in_thread
from tests.support.billing import open_batch
from tests.support.seed import seed_org
from visibility.collection import AnswerCollector
from visibility.providers.limits import Limiter
from visibility.settings import BrightDataSettings
from visibility.store.database import Database

FAST: dict[str, Any] = {
    "poll_seconds": 0.02,
    "deadline_seconds": 8,
    "linger_seconds": 0,
    "request_timeout_seconds": 1.2,
    "rate_limit_backoff_seconds": 0.005,
    "adoption_grace_seconds": 0.1,
    "submit_timeout_seconds": 4,
    "submissions_per_minute": 60000,
}


@dataclass
class Shop:
    """The vendor, the database, and what stands between them."""

    sandbox: RunningSandbox
    database: Database

    def settings(self, **changes: Any) -> BrightDataSettings:
        account = {"base_url": f"{self.sandbox.url}/datasets/v3", "api_key": SecretStr("sandbox")}
        return BrightDataSettings(**{**FAST, **account, **changes})

    @asynccontextmanager
    async def collector(
        self,
        *,
        submitter: str = "",
        max_attempts: int = 4,
        database: Database | None = None,
        is_alive: Callable[[str], bool | None] = lambda submitter: None,
        limiter: Limiter | None = None,
        **changes: Any,
    ) -> AsyncIterator[AnswerCollector]:
        made = AnswerCollector(
            database or self.database,
            self.settings(**changes),
            max_attempts=max_attempts,
            submitter=submitter or f"submitter-{uuid4().hex}",
            is_alive=is_alive,
            limiter=limiter,
        )
        try:
            yield made
        finally:
            await made.close()

    def open_batch(self, **org: Any) -> UUID:
        with self.database.transaction() as session:
            name = org.pop("name", f"Northwind {uuid4().hex[:6]}")
            org = {"questions": 5, "models": ("chatgpt",), **org}
            return open_batch(session, seed_org(session, name=name, **org))

    def runs(self, batch_id: UUID) -> list[Any]:
        with self.database.transaction() as session:
            query = "SELECT * FROM question_runs WHERE batch_id = :b ORDER BY model, question_run_id"
            return list(session.execute(text(query), {"b": batch_id}))

    def statuses(self, batch_id: UUID) -> Counter[str]:
        return Counter(run.error_code or run.status for run in self.runs(batch_id))

    def jobs(self) -> list[Any]:
        with self.database.transaction() as session:
            return list(session.execute(text("SELECT * FROM provider_jobs ORDER BY created_at")))

    async def submitted(self) -> None:
        """Wait until the vendor has accepted a job and its id is saved."""
        async with asyncio.timeout(10):
            while True:
                if any(job.snapshot_id for job in self.jobs()):
                    return
                await asyncio.sleep(0.01)

    def execute(self, statement: str, **values: Any) -> None:
        with self.database.transaction() as session:
            session.execute(text(statement), values)

    def totals(self) -> dict[str, Any]:
        return dict(self.sandbox.accounting()["totals"])

    def script(self, *steps: dict[str, Any]) -> None:
        self.sandbox.set_faults(script=steps)

    def check(self) -> None:
        """What holds whatever went wrong: nothing bought twice, nothing bought and lost, no answer without text."""
        assert self.sandbox.accounting()["bought_twice"] == []
        with self.database.transaction() as session:
            broken = session.execute(
                text(
                    """
                    SELECT count(*) FROM question_runs run LEFT JOIN provider_jobs job ON job_id = provider_job_id
                    WHERE run.status = 'asked' AND coalesce(job.status, 'none') NOT IN
                        ('submitting', 'submitted', 'ready')
                       OR run.status = 'answered' AND (run.cost_usd <= 0 OR run.response_text ~ '^\\s*$')
                       OR run.status <> 'answered' AND run.cost_usd <> 0
                       OR run.attempts < 0
                    """
                )
            ).scalar_one()
        assert broken == 0

    def check_complete(self, *batch_ids: UUID) -> None:
        """Everything is answered, and the vendor sold exactly that."""
        self.check()
        runs = [run for batch_id in batch_ids for run in self.runs(batch_id)]
        assert Counter(run.status for run in runs) == {"answered": len(runs)}
        assert self.totals()["records_usable"] == len(runs)


@pytest.fixture(scope="session")
def one_sandbox() -> Iterator[RunningSandbox]:
    with serve_in_thread(latency=False, slow_seconds=0.2, hold_seconds=5.0) as sandbox:
        yield sandbox


@pytest.fixture
def shop(one_sandbox: RunningSandbox, database: Database) -> Shop:
    one_sandbox.reset()
    return Shop(one_sandbox, database)


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """Every statement that is sent to the database."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)
