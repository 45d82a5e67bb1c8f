"""What dead flows have left is finished once; what a live one works on is left alone; nothing left is silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact

from flows.org_evaluation import org_evaluation
from flows.reconcile import reconcile
from flows.reconcile_command import finish_what_was_left
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support import billing
from tests.support.command import command_of, simulated_command
from tests.support.end_state import BOOKS, end_state, execute, rows, undisturbed, value
from tests.support.flow_process import kill_at, start_flow
from tests.support.league import DAY, MEMBERS, MODELS, QUESTIONS, League, ask_only, seed_league
from tests.support.seed import seed_org, seed_partner
from tests.support.slack import alerts
from tests.support.waiting import eventually_beside
from visibility.errors import BatchFailed
from visibility.reconcile import ReconcileSummary
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.summary import OrgEvaluationSummary

NAME = "Northwind Heating"
FAILED_POLLS = 3


async def reconciled(settings: Settings, *, dry_run: bool = False) -> ReconcileSummary:
    async with resources.opened(settings):
        return await reconcile(dry_run)


async def evaluate(settings: Settings, org_id: UUID) -> OrgEvaluationSummary:
    async with resources.opened(settings):
        return await org_evaluation(org_id, run_date=DAY)


def whats(summary: ReconcileSummary) -> list[tuple[str, str]]:
    return [(action.what, action.subject) for action in summary.actions]


async def published(summary: ReconcileSummary) -> list[Artifact]:
    async with get_client() as client:
        assert summary.flow_run_id is not None
        of_run = ArtifactFilterFlowRunId(any_=[summary.flow_run_id])
        return await client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=of_run))


async def assert_silent(settings: Settings, slack: RunningSandbox, told: int = 0) -> None:
    summary = await reconciled(settings)
    assert (summary.actions, await published(summary), len(alerts(slack))) == ([], [], told)


@pytest.fixture
def org_id(database: Database) -> UUID:
    with database.transaction() as session:
        return seed_org(session, name=NAME, questions=4, locations=(("US", None, None),))


@pytest.fixture
def slow() -> Iterator[RunningSandbox]:
    """Vendors and an LLM that take long enough to be killed while they work."""
    with serve_in_thread(time_scale=300, llm_seconds=(60, 90)) as sandbox:
        yield sandbox


@pytest.fixture
def slow_settings(database_url: str, slow: RunningSandbox) -> Settings:
    return Settings(database_url=database_url, evaluation_chunk=4).for_sandbox(slow.url, time_scale=300)


# --- killed --------------------------------------------------------------------------------------


async def test_a_killed_evaluation_is_finished_once_by_two_reconciles_and_then_there_is_silence(
    database: Database, slack: RunningSandbox, slow: RunningSandbox, slow_settings: Settings, prefect: str, org_id: UUID
) -> None:
    def answers() -> tuple[int, ...]:
        return (value(database, "SELECT count(*) FROM question_runs WHERE status = 'answered'"),)

    kill_at(start_flow(prefect, slow_settings, "org_evaluation", org_id=org_id, run_date=DAY), answers, 1, 0)
    one, other = await asyncio.gather(reconciled(slow_settings), reconciled(slow_settings))
    assert end_state(database) == undisturbed(12)
    accounting = slow.accounting()
    assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (12, [])
    assert {*whats(one), *whats(other)} == {("resume", NAME)} and one.reason is other.reason is None
    finished = one if one.actions else other
    (artifact,) = await published(finished)
    (row,) = json.loads(str(artifact.data))
    assert (row["whose"], row["number"]) == (NAME, "12 answers") and row["result"].startswith("completed")
    await assert_silent(slow_settings, slack)


@pytest.fixture
def league(database: Database, slow: RunningSandbox) -> League:
    return seed_league(database, slow, questions=QUESTIONS[:2], models=MODELS[:2], locations=(("US", None, None),))


async def test_a_network_killed_while_its_members_were_read_is_finished(
    database: Database, slack: RunningSandbox, slow: RunningSandbox, slow_settings: Settings, prefect: str,
    league: League,
) -> None:  # fmt: skip
    kill_at(
        start_flow(prefect, slow_settings, "network_questions", network_id=league.network_id, run_date=DAY),
        lambda: (value(database, "SELECT count(*) FROM org_evals"),), 1, 0,
    )  # fmt: skip
    assert value(database, "SELECT status FROM evaluation_batches") == "completed"
    summary = await reconciled(slow_settings)
    assert ("resume", "Northern Trades League") in whats(summary) and summary.reason is None
    assert end_state(database) == undisturbed(4, len(MEMBERS), shared=True)
    assert slow.accounting()["bought_twice"] == []
    await assert_silent(slow_settings, slack)


async def test_the_reading_of_a_killed_members_flow_is_finished(
    database: Database, slow: RunningSandbox, slow_settings: Settings, prefect: str, league: League
) -> None:
    await ask_only(slow_settings, league)
    execute(database, "UPDATE evaluation_batches SET status = 'completed'")
    child = start_flow(
        prefect, slow_settings, "network_org_missing", org_id=league.members[MEMBERS[0]], since=DAY
    )  # fmt: skip
    kill_at(child, lambda: (value(database, "SELECT count(*) FROM brand_readings"),), 1, 0)
    summary = await reconciled(slow_settings)
    assert whats(summary) == [("read", MEMBERS[0])]
    assert end_state(database) == undisturbed(4, 1, shared=True)


# --- bought and not fetched ----------------------------------------------------------------------


@pytest.fixture
async def failed(database: Database, slack: RunningSandbox, settings: Settings, sandbox: RunningSandbox) -> Settings:
    """A failed batch whose vendor has two jobs: one that was never fetched, one whose id was lost."""
    with database.transaction() as session:
        org_id = seed_org(
            session, name=NAME, questions=4, models=("chatgpt", "perplexity"), locations=(("US", None, None),)
        )
    bright_data = settings.brightdata.model_copy(update={"max_failed_polls": FAILED_POLLS, "poll_seconds": 0.02})
    settings = settings.model_copy(update={"brightdata": bright_data})
    always = {"nth": 1, "times": 1000, "fault": "server_error"}
    sandbox.set_faults(
        script=[
            {"on": "trigger", "nth": 1, "fault": "reset_after_accept"},
            {"on": "snapshots", **always},
            {"on": "progress", **always},
        ]
    )
    with pytest.raises(BatchFailed):
        await evaluate(settings, org_id)
    sandbox.set_faults()
    assert rows(database, "SELECT status FROM provider_jobs ORDER BY 1") == [("submitted",), ("submitting",)]
    assert rows(database, "SELECT status, lease_owner FROM evaluation_batches") == [("failed", None)]
    sandbox.state.slack.clear()
    return settings


async def test_what_a_failed_batch_has_bought_is_fetched_read_and_charged_and_looking_changes_nothing(
    database: Database, slack: RunningSandbox, failed: Settings
) -> None:
    before = everything(database)
    looked = await reconciled(failed, dry_run=True)
    assert looked.counts == {"adopt": 2} and everything(database) == before and await published(looked) == []
    summary = await reconciled(failed)
    assert summary.counts == {"adopt": 2, "resume": 1} and summary.reason is None
    assert end_state(database) == undisturbed(8)
    accounting = slack.accounting()
    assert (accounting["totals"]["jobs"], accounting["totals"]["records_sold"]) == (2, 8)
    assert accounting["bought_twice"] == []
    await assert_silent(failed, slack)


async def test_what_nobody_can_pay_to_read_is_fetched_all_the_same_and_told_once(
    database: Database, slack: RunningSandbox, failed: Settings
) -> None:
    execute(database, "UPDATE credit_balances SET current_balance = 0")
    summary = await reconciled(failed)
    assert summary.counts == {"adopt": 2} and summary.reason is not None and "needs 0.4" in summary.reason
    assert rows(database, "SELECT status, count(*) FROM question_runs GROUP BY 1") == [("answered", 8)]
    (alert,) = alerts(slack)
    assert "reconcile has problems" in alert and alert.count("Top up the balance") == 1
    await assert_silent(failed, slack, told=1)


def everything(database: Database) -> list[list[str]]:
    tables = ("evaluation_batches", "provider_jobs", "question_runs", "credit_holds", "partner_usage_ledger")
    return [sorted(map(str, rows(database, f"SELECT * FROM {table}"))) for table in tables]


# --- money ---------------------------------------------------------------------------------------


async def test_a_settlement_that_failed_is_tried_until_it_holds(
    database: Database, slack: RunningSandbox, settings: Settings, org_id: UUID
) -> None:
    flow = asyncio.create_task(evaluate(settings, org_id))
    await eventually_beside(lambda: value(database, "SELECT count(*) = 1 FROM credit_holds"), every=0.01)
    with database.transaction() as session:
        seed_partner(session, pricing={"margin_pct": 7})
    assert (await flow).status == "completed"
    summary = await reconciled(settings)
    assert whats(summary) == [("settle", NAME)] and summary.reason is not None and "margin" in summary.reason
    assert len(await published(summary)) == 1
    assert ["reconcile has problems" in alert for alert in alerts(slack)] == [False, True]
    execute(database, "UPDATE pricing_configs SET margin_pct = NULL")
    summary = await reconciled(settings)
    assert [(action.what, action.number, action.failed) for action in summary.actions] == [("settle", 12, False)]
    assert end_state(database) == undisturbed(12)
    await assert_silent(settings, slack, told=2)


# --- alive ---------------------------------------------------------------------------------------


async def test_what_a_live_flow_works_on_is_left_alone(
    database: Database, slack: RunningSandbox, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    sandbox.set_faults(script=[{"on": "trigger", "nth": 1, "times": 3, "fault": "job_never_ready"}])
    flow = asyncio.create_task(evaluate(settings, org_id))
    await eventually_beside(lambda: value(database, "SELECT count(snapshot_id) = 3 FROM provider_jobs"))
    await assert_silent(settings, slack)
    for job in sandbox.state.jobs.by_id.values():
        job.faults = frozenset()
    assert (await flow).charges == 12
    assert {balance for (balance,) in rows(database, BOOKS)} == {0}


# --- the command ---------------------------------------------------------------------------------


async def test_the_command_says_what_it_would_do_and_does_it(
    database: Database, database_url: str, sandbox: RunningSandbox, prefect_api: str, org_id: UUID,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    with database.transaction() as session:
        billing.open_batch(session, org_id)
    execute(database, "UPDATE evaluation_batches SET sandbox = true, status = 'running'")
    command = command_of(finish_what_was_left, monkeypatch, tmp_path)
    run = simulated_command(command, monkeypatch, database_url, prefect_api, sandbox.url)
    looked = await asyncio.to_thread(run, "--dry-run", "--json")
    assert json.loads(looked.output)["counts"] == {"resume": 1}
    assert value(database, "SELECT status FROM evaluation_batches") == "running"
    ended = await asyncio.to_thread(run)
    assert ended.status == 0 and "1 resumed" in ended.output and NAME in ended.output
    assert end_state(database) == undisturbed(12)
