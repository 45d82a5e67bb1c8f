"""A shard: many orgs in one process, in common vendor jobs, each in a flow of its own."""

from __future__ import annotations

import json
import os
import random
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import AsyncFlowRunEngine

from flows.evaluate_orgs import evaluate_orgs
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.end_state import books, end_state, execute, rows, undisturbed, value
from tests.support.flow_process import kill_at, start_flow
from tests.support.seed import QUESTIONS, seed_org
from tests.support.slack import alerts
from visibility.settings import Settings
from visibility.shard_summary import ShardSummary
from visibility.store.database import Database

DAY = date(2026, 11, 23)
SEED = 20261124
CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))  # `make chaos` sets more
NAMES = ("Alderbourne", "Brimcaster", "Cordale", "Dunfleet", "Eskgarth", "Fenholt")
ORGS, ANSWERS = len(NAMES), 4  # answers of each org
JOBS = 2  # one per engine, whoever asks
# where a shard is, as the number of its rows: batches, holds, jobs, snapshot ids, answers, evaluations, charges
ROWS = """
    SELECT (SELECT count(*) FROM evaluation_batches), (SELECT count(*) FROM credit_holds),
        (SELECT count(*) FROM provider_jobs), (SELECT count(snapshot_id) FROM provider_jobs),
        (SELECT count(*) FROM question_runs WHERE status = 'answered'), (SELECT count(*) FROM org_evals),
        (SELECT count(*) FROM partner_usage_ledger)
"""
STRATA = ((0, 2 * ORGS), (2 * ORGS, 2 * ORGS + 30), (2 * ORGS + 30, 2 * ORGS + 72))


def seed_orgs(database: Database, sandbox: RunningSandbox) -> list[UUID]:
    """Six orgs with four answers each: two questions of two models."""
    with database.transaction() as session:
        org_ids = [
            seed_org(session, name=name, questions=2, models=("chatgpt", "gemini"), locations=(("US", None, None),),
                     websites=(f"https://{name.lower()}.example",))
            for name in NAMES
        ]  # fmt: skip
    for name in NAMES:
        sandbox.learn({"name": name, "websites": [f"https://{name.lower()}.example"], "questions": [*QUESTIONS[:2]]})
    return org_ids


@pytest.fixture
def org_ids(database: Database, sandbox: RunningSandbox) -> list[UUID]:
    return seed_orgs(database, sandbox)


async def evaluate(settings: Settings, org_ids: list[UUID], linger_seconds: float = 0.5) -> ShardSummary:
    async with resources.opened(settings, linger_seconds=linger_seconds):
        return await evaluate_orgs(org_ids, DAY)


async def test_orgs_share_vendor_jobs_and_one_that_fails_stops_no_other_and_is_done_by_the_next_run(
    database: Database, settings: Settings, slack: RunningSandbox, org_ids: list[UUID]
) -> None:
    poor = org_ids[2]
    execute(database, "UPDATE credit_balances SET current_balance = 0.01 WHERE payer_id = :org", org=poor)
    execute(database, "UPDATE credit_top_ups SET amount = 0.01 WHERE payer_id = :org", org=poor)
    five_orgs = settings.brightdata.model_copy(update={"max_inputs_per_job": 10})  # full: a job waits no longer
    summary = await evaluate(settings.model_copy(update={"brightdata": five_orgs}), org_ids, linger_seconds=30)
    assert (summary.status, summary.completed, summary.failed) == ("completed", ORGS - 1, 1)
    assert (summary.answered, summary.evaluated, summary.charged_usd) == (20, 20, Decimal(1))
    failed = summary.ends[0]
    assert failed.org_id == poor and "has 0.010000 USD available" in str(failed.reason)
    assert slack.accounting()["totals"]["jobs"] == JOBS
    assert len(alerts(slack)) == 1 and str(poor) in alerts(slack)[0]
    await assert_shown(summary)
    execute(database, "UPDATE credit_balances SET current_balance = 10 WHERE payer_id = :org", org=poor)
    execute(database, "UPDATE credit_top_ups SET amount = 10 WHERE payer_id = :org", org=poor)
    again = await evaluate(settings, org_ids)
    assert (again.status, again.failed, again.answered, again.coverage) == ("completed", 0, 24, 1.0)
    assert slack.accounting()["totals"]["records_sold"] == 24 and slack.accounting()["bought_twice"] == []
    assert value(database, "SELECT count(*) FROM partner_usage_ledger") == 24 and books(database) == {0}


async def assert_shown(summary: ShardSummary) -> None:
    """The progress says orgs, answers, coverage and cost; the table shows the failed org first."""
    assert summary.flow_run_id is not None
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[summary.flow_run_id]))
        )
    shown = {artifact.type: artifact for artifact in found}
    line = str(shown["progress"].description)
    assert line.startswith("6 of 6 orgs done, 1 failed · 20 answers · coverage 100% · cost 0.03 USD")
    assert shown["progress"].data == 100.0 and line.endswith("SIMULATED (sandbox)")
    table = json.loads(str(shown["table"].data))
    assert [row["state"] for row in table] == ["failed"] + ["completed"] * 5
    assert "20 of 20 answers" in str(shown["markdown"].data)


async def test_a_shard_in_which_too_many_orgs_fail_fails_and_names_them(
    prefect: str, settings: Settings, sandbox: RunningSandbox, org_ids: list[UUID]
) -> None:
    unknown = uuid4()
    async with resources.opened(settings):
        state = await evaluate_orgs([org_ids[0], unknown], DAY, return_state=True)
    assert state.is_failed() and f"{unknown}: There is no organisation" in str(state.message)
    assert sandbox.accounting()["totals"]["records_sold"] == ANSWERS


async def test_an_org_whose_flow_prefect_does_not_start_stops_no_other(
    database: Database, settings: Settings, slack: RunningSandbox, org_ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    create, unlucky = AsyncFlowRunEngine.create_flow_run, org_ids[2]

    async def refuse(engine: AsyncFlowRunEngine[..., Any], client: PrefectClient) -> FlowRun:
        if engine.parameters and engine.parameters.get("org_id") == unlucky:
            raise httpx.ConnectError("All connection attempts failed")
        return await create(engine, client)

    monkeypatch.setattr(AsyncFlowRunEngine, "create_flow_run", refuse)
    summary = await evaluate(settings, org_ids)
    assert (summary.status, summary.completed, summary.failed, summary.answered) == ("completed", ORGS - 1, 1, 20)
    assert (summary.ends[0].org_id, summary.ends[0].state) == (unlucky, "failed")
    assert len(alerts(slack)) == 1 and "Unexpected ConnectError" in alerts(slack)[0]


@pytest.mark.parametrize("point", range(len(STRATA) * CHAOS_ROUNDS))
async def test_a_killed_shard_ends_like_an_undisturbed_one(
    database: Database, database_url: str, prefect: str, point: int
) -> None:
    chance = random.Random(SEED + point)
    score, delay = chance.randrange(*STRATA[point % len(STRATA)]), chance.uniform(0, 0.08)
    with serve_in_thread(time_scale=300, llm_seconds=(3, 30)) as sandbox:
        org_ids = seed_orgs(database, sandbox)
        settings = Settings(database_url=database_url, evaluation_chunk=3).for_sandbox(sandbox.url, time_scale=300)
        process = start_flow(prefect, settings, "evaluate_orgs", org_ids=org_ids, run_date=DAY)
        where = kill_at(process, lambda: rows(database, ROWS)[0], score, delay)
        summary = await evaluate(settings, org_ids)
        print(f"point {point}: batches, holds, jobs, snapshots, answers, evaluations, charges: {where}")
        accounting = sandbox.accounting()
    assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (ORGS * ANSWERS, [])
    expected = undisturbed(ORGS * ANSWERS) | {"batches": [("completed", ORGS)]}
    assert end_state(database) == expected and summary.failed == 0
