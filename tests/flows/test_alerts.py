"""Alerts: one per failing flow, delivered where a webhook is configured, and never in the way of the flow."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import State, flow, get_client, task
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelling, Crashed, Running
from sqlalchemy import select, text, update

from flows.guards import WITH_PROBLEMS, Problems, alert_on_cancellation, alert_on_crash, alerting, reason_of
from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import alert, resources
from tasks.alert import deliver
from tests.support.broken_statements import break_statement, repair_statement
from tests.support.seed import QUESTIONS, seed_org
from tests.support.slack import alerts, save_webhook
from visibility.errors import BatchFailed, InsufficientCredits, InvalidInput, LeaseLost, ProviderRefused
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.tables import Batch, CreditBalance, CreditHold, LedgerEntry

DAY = date(2026, 11, 23)
WEBSITES = ("https://northwindheating.example",)
LOGGER = logging.getLogger("alerts")
MODELS = ("chatgpt", "perplexity", "gemini")


@pytest.fixture
def org_id(database: Database, sandbox: RunningSandbox) -> UUID:
    sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
    with database.transaction() as session:
        return seed_org(session, websites=WEBSITES, questions=2)


async def webhook(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure a Slack webhook block of this test alone."""
    monkeypatch.setenv("SLACK_WEBHOOK_BLOCK", await save_webhook(url))


async def evaluate(settings: Settings, org_id: UUID) -> Any:
    async with resources.opened(settings):
        return await org_evaluation(org_id, run_date=DAY)


@dataclass(frozen=True)
class Row:
    """What the database says of the only batch."""

    status: str
    error: str | None
    lease_owner: str | None


def batch(database: Database) -> Row:
    with database.transaction() as session:
        return Row(*session.execute(select(Batch.status, Batch.error, Batch.lease_owner)).one())


async def first_job(database: Database) -> None:
    """Wait until a vendor job has been recorded."""
    jobs = 0
    while not jobs:
        await asyncio.sleep(0.05)
        jobs = await database.run(lambda session: session.scalar(text("SELECT count(*) FROM provider_jobs")) or 0)


async def test_a_balance_that_is_too_low_is_one_alert_with_payer_balance_and_need(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID
) -> None:
    with database.transaction() as session:
        session.execute(update(CreditBalance).values(current_balance=Decimal("0.42")))
    with pytest.raises(InsufficientCredits):
        await evaluate(settings, org_id)
    (message,) = alerts(slack)
    assert f"ORG {org_id} has 0.420000 USD available and needs 0.600000 USD" in message
    assert "/runs/flow-run/" in message


async def test_a_flow_that_succeeds_alerts_nobody(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID
) -> None:
    await evaluate(settings, org_id)
    assert alerts(slack) == []


async def test_without_a_webhook_an_alert_is_a_log_line(
    prefect: str, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    assert await deliver("evaluation of x failed", "because", LOGGER, None) is False
    (line,) = [record for record in caplog.records if "ALERT" in record.message]
    assert line.levelno == logging.ERROR and line.message == "ALERT evaluation of x failed: because"
    assert alerts(sandbox) == []


@pytest.mark.parametrize("fault", ["server_error", "connection_reset", "timeout", "rate_limited"])
async def test_a_slack_that_does_not_take_it_is_a_warning(
    slack: RunningSandbox, fault: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert, "PATIENCE_SECONDS", 2.0)
    slack.set_faults(script=[{"on": "slack", "nth": 1, "times": 9, "fault": fault}])
    begun = time.monotonic()
    assert await deliver("evaluation failed", "because", LOGGER, None) is False
    assert time.monotonic() - begun < 4
    assert "ALERT" in caplog.text and "Slack" in caplog.records[-2].message + caplog.records[-1].message


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/slack/x", "not a url"])
async def test_a_slack_that_is_not_there_does_not_change_how_the_flow_ends(
    prefect: str, database: Database, settings: Settings, org_id: UUID, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    await webhook(url, monkeypatch)
    with database.transaction() as session:
        session.execute(update(CreditBalance).values(current_balance=Decimal(0)))
    with pytest.raises(InsufficientCredits):
        await evaluate(settings, org_id)


@pytest.mark.parametrize(("name", "value"), [("SLACK_WEBHOOK_BLOCK", "unknown"), ("COVERAGE_THRESHOLD", "much")])
async def test_a_wrong_setting_does_not_raise_out_of_an_alert(
    prefect: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert await deliver("title", "text", LOGGER, None) is False


async def test_an_alert_is_escaped_and_not_endless(slack: RunningSandbox) -> None:
    assert await deliver("a <title>", "<!channel> & " + "x" * 10_000, LOGGER, None)
    (message,) = alerts(slack)
    assert message.startswith("*a &lt;title&gt;*\n&lt;!channel&gt; &amp; x") and len(message) < 3500


async def test_a_provider_that_is_down_for_all_models_is_one_alert(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID
) -> None:
    slack.set_faults(script=[{"on": "trigger", "nth": 1, "times": 99, "fault": "quota_gone"}])
    with pytest.raises(BatchFailed):
        await evaluate(settings, org_id)
    (message,) = alerts(slack)
    assert "Only 0 of 12 answers came back" in message and "12 provider_refused" in message


async def test_a_model_that_breaks_leaves_the_others_alone_and_is_one_alert(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID
) -> None:
    break_statement(database, "provider_jobs", "INSERT", f"NEW.dataset_id = '{settings.brightdata.chatgpt_dataset_id}'")
    summary = await evaluate(settings.model_copy(update={"coverage_threshold": 0.5}), org_id)
    assert (summary.status, summary.answered, summary.evaluated) == ("completed", 8, 8)
    (message,) = alerts(slack)
    assert "has problems" in message
    assert summary.flow_run_id is not None
    async with get_client() as client:
        state = (await client.read_flow_run(summary.flow_run_id)).state
    assert state is not None and state.is_completed() and state.name == WITH_PROBLEMS
    assert state.message and state.message in message


@flow(name="one of several")
async def failing() -> None:
    async with alerting("one of several"):
        raise InvalidInput("No such thing.")


@task
async def starting() -> None:
    return


@pytest.mark.parametrize(("state", "number"), [(Running(), 0), (Crashed(), 1)], ids=["waits", "is gone"])
async def test_a_run_on_the_pool_alerts_by_itself_only_when_the_flow_that_started_it_is_gone(
    slack: RunningSandbox, state: State[None], number: int
) -> None:
    async with get_client() as client:
        starter = await client.create_flow_run(failing)
        await client.set_flow_run_state(starter.id, state, force=True)
        started = await client.create_task_run(starting, starter.id, "0")
        run = await client.create_flow_run(failing, parent_task_run_id=started.id)
    ended = await run_flow_async(failing, flow_run=run, parameters={}, return_type="state")
    assert isinstance(ended, State) and ended.is_failed() and len(alerts(slack)) == number


async def test_neither_answers_nor_keys_are_in_an_alert(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID
) -> None:
    break_statement(database, "org_evals", "INSERT", says="'sk-secret ' || NEW::text")
    with pytest.raises(BatchFailed):
        await evaluate(settings, org_id)
    (message,) = alerts(slack)
    assert "Only 0 of 12 answers could be read" in message
    assert "sk-secret" not in message and "INSERT" not in message


STEPS = {
    "hold credits": ("credit_holds", "INSERT", "true"),
    "start": ("evaluation_batches", "UPDATE", "NEW.status = 'running'"),
    "ask": ("provider_jobs", "INSERT", "true"),
    "evaluate": ("org_evals", "INSERT", "true"),
    "complete": ("evaluation_batches", "UPDATE", "NEW.status = 'completed'"),
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_breaks_fails_the_batch_gives_the_lease_back_and_alerts_once(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID, step: str
) -> None:
    break_statement(database, *STEPS[step])
    with pytest.raises(Exception) as broken:  # noqa: PT011, RUF100 - whatever the step raises
        await evaluate(settings, org_id)
    row = batch(database)
    assert (row.status, row.lease_owner) == ("failed", None)
    assert row.error == reason_of(broken.value)
    assert len(alerts(slack)) == 1
    repair_statement(database)
    assert (await evaluate(settings, org_id)).status == "completed"
    assert batch(database).error is None and len(alerts(slack)) == 1


async def test_a_settlement_that_breaks_completes_the_batch_and_alerts_once(
    database: Database, settings: Settings, slack: RunningSandbox, org_id: UUID
) -> None:
    break_statement(database, "partner_usage_ledger", "INSERT")
    assert (await evaluate(settings, org_id)).status == "completed"
    assert len(alerts(slack)) == 1 and batch(database).lease_owner is None
    repair_statement(database)
    assert (await evaluate(settings, org_id)).charges == 12
    with database.transaction() as session:
        assert len(session.scalars(select(LedgerEntry.entry_id)).all()) == 12
        assert session.scalars(select(CreditHold.status)).all() == ["settled"]


async def test_a_flow_whose_batch_was_taken_over_stops_without_an_alert(
    database: Database, database_url: str, slack: RunningSandbox, org_id: UUID
) -> None:
    with serve_in_thread(time_scale=10) as slow:
        settings = Settings(database_url=database_url, lease_seconds=0.6).for_sandbox(slow.url, time_scale=100)
        flow = asyncio.create_task(evaluate(settings, org_id))
        await first_job(database)
        await database.run(lambda session: session.execute(update(Batch).values(lease_owner="another|flow")))
        with pytest.raises(LeaseLost):
            await flow
    assert alerts(slack) == []
    assert batch(database).lease_owner == "another|flow" and batch(database).status == "running"


async def test_a_cancelled_flow_fails_the_batch_and_gives_the_lease_back(
    prefect: str, database: Database, settings: Settings, org_id: UUID
) -> None:
    with serve_in_thread(time_scale=10) as slow:
        flow = asyncio.create_task(evaluate(settings.for_sandbox(slow.url, time_scale=100), org_id))
        await first_job(database)
        flow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flow
    row = batch(database)
    assert (row.status, row.lease_owner) == ("failed", None) and "cancelled" in (row.error or "")


async def test_the_hooks_alert_when_called_as_prefect_calls_them(slack: RunningSandbox) -> None:
    run = FlowRun(flow_id=uuid4(), name="evaluate northwind")
    await alert_on_crash(flow=org_evaluation, flow_run=run, state=Crashed(message="exited with -9"))
    await alert_on_cancellation(flow=org_evaluation, flow_run=run, state=Cancelling(message="by ana"))
    crash, cancellation = alerts(slack)
    assert crash.startswith("*org-evaluation evaluate northwind crashed*\nexited with -9\n<http")
    assert cancellation.startswith("*org-evaluation evaluate northwind was cancelled*\nby ana\n<http")
    assert f"/{run.id}>" in crash


def test_the_same_problem_is_told_once() -> None:
    problems = Problems()
    for _ in MODELS:
        problems.add(ProviderRefused("Bright Data refuses the key."))
    problems.add(RuntimeError("sk-secret"))
    assert str(problems).splitlines() == [
        "Bright Data refuses the key.",
        "Unexpected RuntimeError; the log of the flow run says more.",
    ]


def test_problems_are_told_with_whom_they_concern_however_deep_the_flow_was() -> None:
    night, shard = Problems(), Problems()
    for name in ("A", "B", "C", "D"):
        org = Problems()
        org.add(ProviderRefused("Bright Data refuses the key."))
        shard.take_over(name, org)
    shard.add(RuntimeError("broken"))
    night.take_over("4 orgs", shard)
    assert str(night).splitlines() == [
        "Bright Data refuses the key. (A, B, C and 1 more)",
        "Unexpected RuntimeError; the log of the flow run says more. (4 orgs)",
    ]


def lines(error: BaseException) -> Sequence[str]:
    return reason_of(error).splitlines()


def test_the_reason_of_a_foreign_error_is_one_short_line() -> None:
    assert lines(ValueError("first\nDETAIL: the row")) == ["ValueError: first"]
    assert len(reason_of(ValueError("x" * 1000))) < 250
