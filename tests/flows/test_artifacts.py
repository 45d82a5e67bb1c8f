"""What the Prefect UI shows of an evaluation, and which tasks Prefect runs again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client, task
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import Artifact
from sqlalchemy import text, update

from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox
from tasks import artifacts, resources
from tasks.retries import is_retryable
from tests.support.seed import QUESTIONS, seed_org
from visibility.arrivals import Arrivals, evaluate_arrivals
from visibility.domain import EvaluationCounts
from visibility.errors import DatabaseUnavailable, InsufficientCredits, InvalidInput, ProviderUnavailable, RateLimited
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.tables import CreditBalance

DAY = date(2026, 11, 23)
WEBSITES = ("https://northwindheating.example",)


@pytest.fixture
def org_id(database: Database, sandbox: RunningSandbox) -> UUID:
    sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
    with database.transaction() as session:
        return seed_org(session, websites=WEBSITES, questions=2)


async def evaluate(settings: Settings, org_id: UUID) -> Any:
    async with resources.opened(settings):
        return await org_evaluation(org_id, run_date=DAY)


async def published(org_id: UUID) -> list[Artifact]:
    """The artifacts of the org's only flow run, as the API gives them."""
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[f"evaluate {org_id}"]))
        (flow_run,) = await client.read_flow_runs(flow_run_filter=named)
        return await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
        )


def of_type(found: Sequence[Artifact], kind: str) -> list[Artifact]:
    return [artifact for artifact in found if artifact.type == kind]


async def test_a_flow_run_shows_results_summary_and_progress_and_that_they_are_simulated(
    prefect: str, settings: Settings, org_id: UUID
) -> None:
    await evaluate(settings, org_id)
    found = await published(org_id)
    (table,), (summary,) = of_type(found, "table"), of_type(found, "markdown")
    groups = {row["model or location"] for row in json.loads(str(table.data))}
    assert {"chatgpt", "perplexity", "gemini", "US", "chatgpt · US"} < groups and len(groups) == 11
    assert "coverage 100% (12 of 12 answers)" in str(summary.data)
    progress = of_type(found, "progress")
    assert [artifact.data for artifact in progress] == [100.0] * 3
    assert {key.key for key in (table, summary)} == {"org-evaluation-results", "org-evaluation-summary"}
    assert all("SIMULATED" in str(artifact.description) for artifact in found)


async def test_progress_ends_at_a_hundred_where_answers_are_missing_or_were_read_before(
    prefect: str, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    sandbox.set_faults(script=[{"on": "trigger", "nth": 1, "times": 2, "fault": "bad_input"}])
    await evaluate(settings.model_copy(update={"coverage_threshold": 0.5}), org_id)
    assert [artifact.data for artifact in of_type(await published(org_id), "progress")] == [100.0] * 3


async def test_a_batch_that_could_not_be_completed_has_a_summary_with_its_reason(
    prefect: str, database: Database, settings: Settings, org_id: UUID
) -> None:
    with database.transaction() as session:
        session.execute(update(CreditBalance).values(current_balance=Decimal(0)))
    with pytest.raises(InsufficientCredits):
        await evaluate(settings, org_id)
    (summary,) = of_type(await published(org_id), "markdown")
    assert "failed" in str(summary.description) and "needs 0.600000 USD" in str(summary.data)


async def test_a_prefect_that_takes_no_artifacts_does_not_fail_the_evaluation(
    prefect: str, settings: Settings, org_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: Any, **kwargs: Any) -> UUID:
        raise ConnectionError

    for name in ("acreate_markdown_artifact", "acreate_table_artifact", "acreate_progress_artifact"):
        monkeypatch.setattr(artifacts, name, refuse)
    assert (await evaluate(settings, org_id)).status == "completed"


async def test_a_prefect_that_does_not_answer_any_more_does_not_hold_up_the_evaluation(
    prefect: str, settings: Settings, org_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: list[UUID] = []

    async def hang(artifact_id: UUID, progress: float, description: str | None) -> None:
        updates.append(artifact_id)
        await asyncio.sleep(60)

    monkeypatch.setattr(artifacts, "PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(artifacts, "aupdate_progress_artifact", hang)
    async with asyncio.timeout(30):
        assert (await evaluate(settings, org_id)).status == "completed"
    assert len(updates) == len(set(updates)) == 3


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (DatabaseUnavailable("gone"), 3),
        (RateLimited("slowly"), 3),
        (ProviderUnavailable("down"), 3),
        (InvalidInput("no"), 1),
        (ValueError("a bug"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_only_what_may_pass_is_tried_again(prefect: str, error: Exception, attempts: int) -> None:
    tried = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=is_retryable)
    async def failing() -> None:
        tried.append(1)
        raise error

    @flow
    async def asking() -> None:
        await failing()

    with pytest.raises(type(error)):
        await asking()
    assert len(tried) == attempts


async def test_a_task_retried_after_a_lost_database_does_only_what_is_missing(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    """The connection that stores the second model's evaluations is ended by the server, once."""
    with database.transaction() as session:
        session.execute(text("CREATE SEQUENCE stored_evaluations"))
        session.execute(text(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('stored_evaluations') = 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
            " RETURN NULL; END $$"
        ))  # fmt: skip
        session.execute(text(
            "CREATE TRIGGER losing AFTER INSERT ON org_evals FOR EACH STATEMENT EXECUTE FUNCTION lose()"
        ))  # fmt: skip
    summary = await evaluate(settings, org_id)
    assert (summary.status, summary.answered, summary.evaluated, summary.charges) == ("completed", 12, 12, 12)
    assert sandbox.accounting()["totals"]["records_sold"] == 12
    assert sandbox.accounting()["llm"]["calls"] <= 1 + 12 + 4, "only the four lost readings are paid again"
    with database.transaction() as session:
        assert session.scalar(text("SELECT last_value FROM stored_evaluations")) == 4


async def test_a_retried_reader_meets_the_end_of_the_stream_again() -> None:
    arrivals, read = Arrivals(), []
    arrivals.put([UUID(int=1)])
    await arrivals.closing(asyncio.sleep(0))

    async def failing_once(run_ids: Sequence[UUID]) -> EvaluationCounts:
        read.append(tuple(run_ids))
        if len(read) == 1:
            raise DatabaseUnavailable("gone")
        return EvaluationCounts(len(run_ids), 0, 0, 0)

    async def ignore(counts: EvaluationCounts) -> None: ...

    with pytest.raises(DatabaseUnavailable):
        await evaluate_arrivals([], arrivals, failing_once, ignore)
    async with asyncio.timeout(5):
        counts = await evaluate_arrivals([UUID(int=1)], arrivals, failing_once, ignore)
    assert counts.evaluated == 1


async def test_an_answer_that_waits_and_arrives_is_read_once() -> None:
    arrivals, read = Arrivals(), []
    arrivals.put([UUID(int=1), UUID(int=2)])
    await arrivals.closing(asyncio.sleep(0))

    async def reading(run_ids: Sequence[UUID]) -> EvaluationCounts:
        read.extend(run_ids)
        return EvaluationCounts(len(run_ids), 0, 0, 0)

    async def ignore(counts: EvaluationCounts) -> None: ...

    await evaluate_arrivals([UUID(int=1)], arrivals, reading, ignore)
    assert sorted(read) == [UUID(int=1), UUID(int=2)]
