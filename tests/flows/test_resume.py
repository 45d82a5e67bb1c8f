"""A batch that is gone on with: what was configured, stored or finished meanwhile is neither lost nor undone."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select, update

import flows.org_evaluation as steps
import tasks.batch
from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.seed import seed_org
from visibility.collection import AnswerCollector
from visibility.errors import InsufficientCredits, LeaseLost
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.leases import HeldLease
from visibility.store.tables import Batch, CreditBalance, CreditHold, GeoModel, GeoQuestion, LedgerEntry, ProviderJob
from visibility.summary import OrgEvaluationSummary

DAY = date(2026, 11, 23)


async def evaluate(settings: Settings, org_id: UUID) -> OrgEvaluationSummary:
    async with resources.opened(settings):
        return await org_evaluation(org_id, run_date=DAY)


async def stop_when_asked(settings: Settings, database: Database, org_id: UUID, jobs: int) -> None:
    """Cancel an evaluation whose vendor jobs are accepted and not answered yet."""
    flow = asyncio.create_task(evaluate(settings, org_id))
    submitted = select(func.count(ProviderJob.snapshot_id))
    found = 0
    while found != jobs:
        found = await database.run(lambda session: session.scalar(submitted) or 0)
        await asyncio.sleep(0.01)
    flow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flow


def batch(database: Database) -> Any:
    with database.transaction() as session:
        return session.execute(select(Batch.status, Batch.error, Batch.lease_owner)).one()


async def test_what_was_bought_of_a_model_removed_since_is_read_and_charged(
    prefect: str, database: Database, settings: Settings
) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, questions=2, models=("chatgpt", "perplexity"))
    with serve_in_thread(time_scale=40) as slow:
        settings = settings.for_sandbox(slow.url, time_scale=100)
        await stop_when_asked(settings, database, org_id, jobs=2)
        with database.transaction() as session:
            session.execute(delete(GeoModel).where(GeoModel.name == "perplexity"))
        summary = await evaluate(settings, org_id)
        assert slow.accounting()["totals"]["records_sold"] == 8
    assert (summary.status, summary.answered, summary.evaluated, summary.charges) == ("completed", 8, 8, 8)


async def test_answers_that_another_process_stores_meanwhile_are_read(
    prefect: str, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, questions=2, models=("chatgpt",))
    start = steps.start_batch

    async def start_while_another_fetches(lease: HeldLease) -> None:
        await start(lease)
        opened = resources.current()
        other = AnswerCollector(opened.database, opened.settings.brightdata, max_attempts=4, submitter="another")
        await other.ask(lease.lease_id, "chatgpt")
        await other.close()

    with serve_in_thread(time_scale=40) as slow:
        settings = settings.for_sandbox(slow.url, time_scale=100)
        await stop_when_asked(settings, database, org_id, jobs=1)
        monkeypatch.setattr(steps, "start_batch", start_while_another_fetches)
        summary = await evaluate(settings, org_id)
    assert (summary.answered, summary.evaluated, summary.charges) == (4, 4, 4)


@pytest.fixture
async def completed(prefect: str, database: Database, settings: Settings) -> UUID:
    """An org whose batch of the day is completed."""
    with database.transaction() as session:
        org_id = seed_org(session, questions=5, models=("chatgpt",))
    await evaluate(settings, org_id)
    return org_id


async def test_stopping_a_flow_that_finds_nothing_to_do_leaves_the_batch_completed(
    database: Database, settings: Settings, completed: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = asyncio.Event()

    async def publish(summary: OrgEvaluationSummary) -> None:
        publishing.set()
        await asyncio.sleep(30)

    monkeypatch.setattr(tasks.batch, "publish_summary", publish)
    flow = asyncio.create_task(evaluate(settings, completed))
    await publishing.wait()
    flow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flow
    assert tuple(batch(database)) == ("completed", None, None)


@pytest.mark.parametrize(("added", "status"), [(1, "completed"), (5, "failed")])
async def test_a_completed_batch_that_cannot_pay_for_more_fails_only_when_it_is_no_longer_covered(
    database: Database, settings: Settings, completed: UUID, added: int, status: str
) -> None:
    with database.transaction() as session:
        session.add_all(GeoQuestion(org_id=completed, question_text=f"Which? ({number})") for number in range(added))
        session.execute(update(CreditBalance).values(current_balance=Decimal("0.01")))
    with pytest.raises(InsufficientCredits):
        await evaluate(settings, completed)
    assert batch(database).status == status


@pytest.mark.parametrize("step", ["hold_credits", "start_batch", "settle_usage", "complete_batch"])
async def test_a_flow_that_slept_through_a_takeover_does_no_further_step(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox,
    monkeypatch: pytest.MonkeyPatch, step: str,
) -> None:  # fmt: skip
    """What SIGSTOP, a suspended machine or a long pause does: the lease is gone before its renewal can notice."""
    with database.transaction() as session:
        org_id = seed_org(session, questions=2, models=("chatgpt",))
    real = getattr(steps, step)
    counts: list[tuple[Any, ...]] = []

    def money() -> tuple[Any, ...]:
        with database.transaction() as session:
            holds = sorted(session.scalars(select(CreditHold.status)))
            return holds, session.scalar(select(func.count(LedgerEntry.entry_id))), session.scalar(select(Batch.status))

    async def wake_up(*args: Any, **options: Any) -> Any:
        with database.transaction() as session:
            session.execute(update(Batch).values(lease_owner="another|flow"))
        counts.append(money())
        return await real(*args, **options)

    monkeypatch.setattr(steps, step, wake_up)
    with pytest.raises(LeaseLost):
        await evaluate(settings, org_id)
    assert money() == counts[0]
