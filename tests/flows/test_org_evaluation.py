"""The whole evaluation of one org against simulated vendors: what is stored, what is charged, what goes wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select, text, update

from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.seed import QUESTIONS, seed_org
from tests.support.waiting import PATIENCE
from visibility.errors import BatchFailed, InsufficientCredits, InvalidInput
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.tables import (
    AnswerBrand,
    Batch,
    CreditBalance,
    CreditHold,
    LedgerEntry,
    LlmCallRow,
    OrgEval,
    ProviderJob,
)
from visibility.summary import OrgEvaluationSummary

DAY = date(2026, 11, 23)
WEBSITES = ("https://northwindheating.example", "https://northwind.example/heating")


@pytest.fixture
def org_id(database: Database, sandbox: RunningSandbox) -> UUID:
    sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
    with database.transaction() as session:
        return seed_org(session, websites=WEBSITES)


async def evaluate(settings: Settings, org_id: UUID, **parameters: Any) -> OrgEvaluationSummary:
    async with resources.opened(settings):
        return await org_evaluation(org_id, run_date=DAY, **parameters)


def count(database: Database, table: type, *conditions: Any) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(table).where(*conditions)) or 0


def balance(database: Database) -> Decimal:
    with database.transaction() as session:
        return Decimal(session.scalar(select(func.sum(CreditBalance.current_balance))))


async def test_an_evaluation_stores_every_finding_and_charges_every_answer(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    summary = await evaluate(settings, org_id, triggered_by="manual", user_id="ana")
    assert (summary.status, summary.coverage, summary.expected) == ("completed", 1.0, 60)
    assert (summary.answered, summary.evaluated, summary.charges) == (60, 60, 60)
    assert summary.vendor_cost_usd == Decimal("0.09")
    assert summary.llm_calls <= 61
    assert summary.charged_usd == Decimal(3) and balance(database) == Decimal(97)
    assert set(summary.by_model) == {"chatgpt", "perplexity", "gemini"}
    assert count(database, OrgEval) == count(database, LedgerEntry) == 60
    assert count(database, ProviderJob) == 3
    assert count(database, CreditHold, CreditHold.status == "active") == 0
    assert count(database, AnswerBrand) > 60
    assert sandbox.accounting()["totals"]["records_sold"] == 60


async def test_mentions_are_what_the_sandbox_wrote(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    await evaluate(settings, org_id)
    with database.transaction() as session:
        found = dict(map(tuple, session.execute(select(OrgEval.question_run_id, OrgEval.mentioned))))
    truth = truth_by_run(sandbox)
    agreeing = sum(found[run_id] == truth[run_id]["mentioned"] for run_id in found)
    assert len(truth) == 60 and agreeing >= 57


async def test_a_second_run_of_the_day_asks_reads_and_charges_nothing(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    first = await evaluate(settings, org_id)
    calls = sandbox.accounting()["totals"]["calls"]
    second = await evaluate(settings, org_id)
    ignored = {"flow_run_id"}
    assert second.model_dump(exclude=ignored) == first.model_dump(exclude=ignored)
    assert sandbox.accounting()["totals"]["calls"] == calls


async def test_two_flows_at_once_do_the_work_once(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    first, second = await asyncio.gather(evaluate(settings, org_id), evaluate(settings, org_id))
    assert first.batch_id == second.batch_id and first.charged_usd == second.charged_usd == Decimal(3)
    assert count(database, Batch) == 1 and count(database, LedgerEntry) == 60
    assert sandbox.accounting()["totals"]["records_sold"] == 60


async def test_an_evaluation_costs_at_most_twelve_task_runs_and_sixty_statements(
    prefect: str, settings: Settings, org_id: UUID
) -> None:
    statements: list[str] = []
    async with resources.opened(settings) as opened:
        event.listen(opened.database.engine, "after_cursor_execute", lambda *args: statements.append(args[2]))
        summary = await org_evaluation(org_id, run_date=DAY)
    assert summary.flow_run_id is not None
    assert len(statements) <= 60, print_all(statements)
    assert await task_runs(summary.flow_run_id) <= 12


async def task_runs(flow_run_id: UUID) -> int:
    """Count the flow run's task runs; the server writes them a little later than they happen."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async with get_client() as client:
        await asyncio.sleep(3)
        found = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    assert found
    return len(found)


async def test_a_balance_that_is_too_low_buys_nothing_and_fails_the_batch_with_the_reason(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    with database.transaction() as session:
        session.execute(update(CreditBalance).values(current_balance=Decimal("2.99")))
    with pytest.raises(InsufficientCredits, match=r"ORG .* has 2\.990000 USD available and needs 3\.000000 USD"):
        await evaluate(settings, org_id)
    with database.transaction() as session:
        status, error, lease = session.execute(select(Batch.status, Batch.error, Batch.lease_owner)).one()
    assert status == "failed" and "2.990000" in error and lease is None
    assert sandbox.accounting()["totals"]["jobs"] == 0


async def test_a_failed_batch_is_resumed_when_the_balance_is_there(
    prefect: str, database: Database, settings: Settings, org_id: UUID
) -> None:
    with database.transaction() as session:
        session.execute(update(CreditBalance).values(current_balance=Decimal(1)))
    with pytest.raises(InsufficientCredits):
        await evaluate(settings, org_id)
    with database.transaction() as session:
        session.execute(update(CreditBalance).values(current_balance=Decimal(10)))
    assert (await evaluate(settings, org_id)).status == "completed"


async def test_an_unknown_org_is_refused_before_anything_is_written(
    prefect: str, database: Database, settings: Settings
) -> None:
    with pytest.raises(InvalidInput, match="no organisation"):
        await evaluate(settings, uuid4())
    assert count(database, Batch) == 0


async def test_an_org_without_questions_completes_with_nothing_expected(
    prefect: str, database: Database, settings: Settings
) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, questions=0)
    summary = await evaluate(settings, org_id)
    assert (summary.status, summary.expected, summary.coverage) == ("completed", 0, None)
    assert summary.figures["mention_rate"].value is None and summary.figures["mention_rate"].reason


async def test_a_model_nobody_reaches_fails_alone(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox
) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, models=("chatgpt", "perplexity", "gemini", "perplexity-pro", "claude-sonnet-4"))
    summary = await evaluate(settings, org_id)
    assert summary.status == "completed"
    assert summary.failed == {"provider_not_configured": 20}


async def test_a_lost_llm_leaves_the_answers_and_a_rerun_reads_them(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    sandbox.set_faults({"quota_gone": 1.0})
    with pytest.raises(BatchFailed):
        await evaluate(settings, org_id)
    sold = sandbox.accounting()["totals"]["records_sold"]
    sandbox.set_faults()
    summary = await evaluate(settings, org_id)
    assert summary.status == "completed" and summary.evaluated == summary.charges == 60
    assert sandbox.accounting()["totals"]["records_sold"] == 60 >= sold


async def test_mixed_faults_end_with_coverage_and_nothing_bought_twice(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    names = [name for name in all_faults(sandbox) if name not in {"timeout", "quota_gone", "slow_body"}]
    sandbox.set_faults(dict.fromkeys(names, 0.05), seed=11)
    async with asyncio.timeout(PATIENCE):
        try:
            summary = await evaluate(settings, org_id)
        except BatchFailed:
            sandbox.set_faults()
            summary = await evaluate(settings, org_id)
    assert summary.status == "completed" and (summary.coverage or 0) >= 0.8
    assert summary.charges == summary.evaluated <= summary.answered
    assert sandbox.accounting()["bought_twice"] == []
    with database.transaction() as session:
        assert (
            session.scalar(text("SELECT count(*) FROM question_runs WHERE (status = 'failed') = (error_code IS NULL)"))
            == 0
        )


async def test_every_llm_call_is_recorded_once(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    await evaluate(settings, org_id)
    assert count(database, LlmCallRow) == sandbox.accounting()["llm"]["calls"]


def all_faults(sandbox: RunningSandbox) -> Sequence[str]:
    from sandbox.faults import FAULTS

    return list(FAULTS)


def truth_by_run(sandbox: RunningSandbox) -> dict[UUID, Any]:
    import httpx

    answers = httpx.get(f"{sandbox.url}/_truth/answers", timeout=20).json()
    rows = answers["answers"] if isinstance(answers, dict) else answers
    return {UUID(row["question_run_id"]): row for row in rows}


def print_all(statements: Sequence[str]) -> str:
    counted = Counter(" ".join(statement.split())[:100] for statement in statements)
    return "\n".join(f"{number} {statement}" for statement, number in counted.most_common())
