"""Nights: who is scheduled is evaluated, in this process or in shards; run again, only what is not done."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Completed, Crashed, Scheduled

from flows import shards
from flows.daily_evaluations import daily_evaluations
from flows.daily_networks import daily_networks
from flows.evaluate_orgs import evaluate_orgs
from flows.guards import WITH_PROBLEMS
from flows.network_questions import network_questions
from flows.night_commands import ask_for_networks_of_the_day, evaluate_the_day
from flows.pool_runs import is_served, patiently, problems_of
from flows.shards import Shards, orgs_of, start_shards
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.command import Command, assert_refused, command_of, simulated_command
from tests.support.end_state import books, execute, value
from tests.support.pool import deploy_flow, pool_name, runs_of
from tests.support.seed import QUESTIONS, seed_network, seed_org
from tests.support.slack import alerts
from tests.support.waiting import PATIENCE
from visibility.errors import BatchFailed
from visibility.night import NightSummary
from visibility.settings import Settings
from visibility.store.database import Database

MONDAY = date(2026, 11, 23)
NAMES = ("Alderbourne", "Brimcaster", "Cordale", "Dunfleet")


Simulated = Callable[[Callable[..., None]], Command]


@pytest.fixture
def simulated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str, prefect_api: str, sandbox: RunningSandbox
) -> Simulated:
    """Commands on this test's database, the run's Prefect server and a sandbox that knows nobody."""

    def command(function: Callable[..., None]) -> Command:
        known = command_of(function, monkeypatch, tmp_path)
        return simulated_command(known, monkeypatch, database_url, prefect_api, sandbox.url)

    return command


@pytest.fixture
def org_ids(database: Database, sandbox: RunningSandbox) -> list[UUID]:
    """Four orgs with one question each, all but the last on Mondays."""
    with database.transaction() as session:
        found = [
            seed_org(session, name=name, questions=1, models=["chatgpt"], locations=(("US", None, None),),
                     websites=(), days=[0] if name != "Dunfleet" else [1])
            for name in NAMES
        ]  # fmt: skip
    for name in NAMES:
        sandbox.learn({"name": name, "websites": [], "questions": [QUESTIONS[0]]})
    return found


def set_balance(database: Database, org_id: UUID, usd: Decimal) -> None:
    for table, column in (("credit_balances", "current_balance"), ("credit_top_ups", "amount")):
        execute(database, f"UPDATE {table} SET {column} = :usd WHERE payer_id = :org", org=org_id, usd=usd)


async def night(settings: Settings) -> NightSummary:
    """Run the night of a Monday; return its summary, also a failed one's."""
    async with resources.opened(settings, linger_seconds=0):
        state = await daily_evaluations(MONDAY, return_state=True)
    result = await state.aresult(raise_on_failure=False)
    summary = result.summary if isinstance(result, BatchFailed) else result
    assert isinstance(summary, NightSummary), result
    return summary


async def test_a_night_in_this_process_does_who_is_scheduled_and_again_only_who_is_left(
    database: Database, settings: Settings, slack: RunningSandbox, org_ids: list[UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tasks.night.LOOK_SECONDS", 0.05)
    set_balance(database, org_ids[1], Decimal("0.01"))
    summary = await night(settings)
    assert (summary.status, summary.spawn, summary.scheduled, summary.completed) == ("failed", "subflow", 3, 2)
    (poor,) = summary.failed
    assert poor.name == "Brimcaster" and "has 0.010000 USD available" in poor.reason
    assert (summary.expected, summary.answered, summary.charged_usd) == (3, 2, Decimal("0.10"))
    assert len(alerts(slack)) == 1
    shown = await artifacts_of(summary.flow_run_id)
    assert [row["not done"] for row in json.loads(str(shown["daily-orgs-not-done"].data))] == ["Brimcaster"]
    assert shown["progress"].data == 100.0 and "(2 done now, 1 not done)" in str(shown["daily-orgs"].data)
    set_balance(database, org_ids[1], Decimal(1))
    monkeypatch.setattr("tasks.night.count_ended", lambda *_: 1 / 0)  # a picture that cannot be drawn fails no night
    again = await night(settings)
    assert (again.status, again.done_before, again.completed, again.failed) == ("completed", 2, 1, [])
    assert (again.answered, again.coverage) == (3, 1.0)
    assert slack.accounting()["totals"]["records_sold"] == 3 and books(database) == {0}
    assert value(database, "SELECT array_agg(DISTINCT trigger || run_date) FROM evaluation_batches") == [
        "schedule2026-11-23"
    ]
    nothing = await night(settings)
    assert (nothing.done_before, nothing.started, len(alerts(slack))) == (3, 0, 1)


async def artifacts_of(flow_run_id: UUID | None) -> dict[str | None, Artifact]:
    """Return what a flow run shows, by key; the progress has none, it is found by its type."""
    assert flow_run_id is not None
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=of_run)
    return {artifact.key or artifact.type: artifact for artifact in found}


async def end(run: FlowRun) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Cancelled(message="cancelled by ana"), force=True)


async def test_shards_of_a_day_never_share_an_org_and_what_was_cancelled_is_started_again(
    prefect: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_name()
    monkeypatch.setattr(shards, "DEPLOYMENT", await deploy_flow(evaluate_orgs, pool))
    monkeypatch.setattr("flows.pool_runs.PAGE", 2)
    monkeypatch.setattr(shards, "PAGE", 2)
    orgs = [uuid4() for _ in range(7)]
    day = date(2000 + int(uuid4()) % 7000, 1, 3)  # keys are those of a flow, on a server that other tests use

    @flow
    async def nights(*started: list[UUID]) -> list[Shards]:
        return list(await asyncio.gather(*(start_shards(day, one, 2) for one in started)))

    async def covered() -> list[list[UUID]]:
        return [orgs_of(run) for run in await runs_of(shards.DEPLOYMENT) if not shards.is_over(run)]

    async with resources.opened(settings):
        first, second = await nights(orgs[:5], orgs[:6])  # two nights at the same time: the second knows one org more
        assert sorted(org for one in await covered() for org in one) == sorted(orgs[:6])
        assert first.refused == second.refused == {}
        assert {org for run in second.runs for org in orgs_of(run)} == set(orgs[:6])
        cancelled = next(run for run in first.runs if orgs_of(run) == orgs[:2])
        await end(cancelled)
        (third,) = await nights(orgs)  # one org more, two of a shard that is over; the others are under way
        assert [orgs_of(run) for run in third.own] == [[*orgs[:2]], [orgs[6]]] and len(third.others) >= 2
        assert sorted(org for one in await covered() for org in one) == sorted(orgs)
        numbers = sorted(int(str(run.idempotency_key).split("-")[-1]) for run in await runs_of(shards.DEPLOYMENT))
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_network_whose_run_on_the_pool_ended_badly_is_told_and_started_again_by_the_next_night(
    prefect: str, database: Database, settings: Settings, slack: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = await deploy_flow(network_questions, pool_name())
    monkeypatch.setattr("flows.daily_networks.DEPLOYMENT", deployment)
    monkeypatch.setattr("flows.pool_runs.POLL_SECONDS", 0.3)
    with database.transaction() as session:
        network_id = seed_network(session, questions=1, days=[0])
    for number in (1, 2):
        async with resources.opened(settings):
            parent = asyncio.create_task(daily_networks(MONDAY, "deployment", return_state=True))
            async with asyncio.timeout(PATIENCE):
                while len(runs := await runs_of(deployment)) < number:  # noqa: ASYNC110 - Prefect tells nobody
                    await asyncio.sleep(0.1)
            await end(runs[-1])
            failed = await (await parent).aresult(raise_on_failure=False)
        assert isinstance(failed, BatchFailed) and isinstance(failed.summary, NightSummary)
        assert (failed.summary.started, failed.summary.failed[0].reason) == (1, "cancelled by ana")
        assert len(alerts(slack)) == number and "cancelled by ana (Northern Trades League)" in alerts(slack)[-1]
    keys = [run.idempotency_key for run in runs]
    assert keys == [f"network-questions-2026-11-23-{network_id}-{number}" for number in (1, 2)]


async def test_a_night_that_starts_late_is_that_of_the_day_it_was_scheduled_for(
    prefect: str, database: Database, settings: Settings
) -> None:
    async with get_client() as client:
        late = await client.create_flow_run(
            daily_evaluations, state=Scheduled(scheduled_time=datetime(2026, 11, 23, 23, 59, tzinfo=UTC))
        )
    async with resources.opened(settings):
        summary = await run_flow_async(daily_evaluations, flow_run=late, parameters={})
    assert isinstance(summary, NightSummary) and (summary.run_date, summary.scheduled) == (MONDAY, 0)


async def test_a_night_runs_on_the_pool_only_where_a_worker_is_online(prefect: str) -> None:
    pool = pool_name()
    deployment = await deploy_flow(evaluate_orgs, pool)
    assert not await is_served("evaluate-orgs/nowhere") and not await is_served(deployment)
    async with get_client() as client:
        await client.send_worker_heartbeat(pool, "somebody", heartbeat_interval_seconds=30)
    assert await is_served(deployment)


def test_a_night_that_is_asked_for_on_a_pool_without_its_deployment_starts_nothing(
    database: Database, simulated: Simulated, org_ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.daily_evaluations.DEPLOYMENT", "evaluate-orgs/nowhere")
    ended = simulated(evaluate_the_day)("--run-date", MONDAY, "--spawn", "deployment", "--json")
    assert ended.status == 2 and "There is no deployment evaluate-orgs/nowhere" in ended.sentence
    assert value(database, "SELECT count(*) FROM evaluation_batches") == 0


def test_a_night_of_networks_tells_the_sandbox_of_them_and_ends_with_every_member_evaluated(
    database: Database, simulated: Simulated
) -> None:
    with database.transaction() as session:
        network_id = seed_network(session, questions=1, days=[0])
        for name in NAMES[:2]:
            seed_org(session, name=name, questions=0, models=(), network_id=network_id)
    command = simulated(ask_for_networks_of_the_day)
    ended = command("--run-date", MONDAY, "--json")
    assert ended.status == 0, ended.errors
    summary = json.loads(ended.output)
    assert (summary["scheduled"], summary["completed"], summary["answered"]) == (1, 1, 1)
    assert value(database, "SELECT count(*) FROM org_evals") == 2
    assert "networks scheduled: 1 (0 done now, 1 done before)" in command("--run-date", MONDAY).output


def test_a_dry_run_needs_neither_key_nor_prefect_and_writes_nothing(
    database: Database, database_url: str, org_ids: list[UUID], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dry = partial(command_of(evaluate_the_day, monkeypatch, tmp_path), "--dry-run", "--run-date", MONDAY)
    ended = dry("--json", DATABASE_URL=database_url)
    assert ended.status == 0, ended.errors
    plan = json.loads(ended.output)
    assert (plan["weekday"], plan["runs"], plan["to_ask"], plan["vendor_jobs"]) == ("Monday", 1, 3, 1)
    assert {payer["name"] for payer in plan["payers"]} == set(NAMES[:3]) and plan["charges_usd"] == "0.150000"
    page = dry().output
    assert "Monday 2026-11-23 · orgs scheduled: 3 (3 new)" in page and "It should take about 5 min" in page
    assert value(database, "SELECT count(*) FROM evaluation_batches") == 0
    nobody = command_of(ask_for_networks_of_the_day, monkeypatch, tmp_path)("--dry-run", "--run-date", MONDAY)
    assert nobody.status == 0 and "networks scheduled: none" in nobody.output
    assert list((tmp_path / "data").glob("*")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run-date", "2199-01-01"], ["more than a year ahead"]),
        (["--run-date", "monday", "--dry-run"], ["'monday' is not a date such as"]),
        (["--spawn", "thread"], ["--spawn", "subflow", "deployment"]),
        (["--spawn", "subflow"], ["BRIGHTDATA_API_KEY", "--sandbox"]),
    ],
)
def test_a_wrong_option_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    assert_refused(command_of(evaluate_the_day, monkeypatch, tmp_path)(*arguments), *words)


@pytest.mark.parametrize(("status", "calls"), [(404, 1), (429, 2), (408, 2), (503, 2)])
async def test_a_request_is_repeated_unless_prefect_refuses_it(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, status: int, calls: int
) -> None:
    monkeypatch.setattr("flows.pool_runs.POLL_SECONDS", 0)
    monkeypatch.setattr("flows.pool_runs.get_run_logger", logging.getLogger)
    answers = [httpx.Response(status, request=httpx.Request("GET", "http://prefect")), None]
    asked: list[object] = []

    async def request() -> None:
        asked.append(answer := answers[len(asked)])
        if answer is not None:
            answer.raise_for_status()

    async with resources.opened(settings):
        with suppress(httpx.HTTPStatusError):
            await patiently(request)
    assert len(asked) == calls


def test_what_a_run_on_the_pool_has_tolerated_is_told_and_why_another_failed() -> None:
    tolerated = FlowRun(flow_id=uuid4(), state=Completed(name=WITH_PROBLEMS, message="Gemini is down. (A)\nTop up."))
    failed, gone = FlowRun(flow_id=uuid4(), state=Crashed(message="It died.")), FlowRun(flow_id=uuid4())
    seen = {run.id: run for run in (tolerated, failed)}
    told = [str(problems_of(run, seen)) for run in (tolerated, failed, gone, "Prefect did not start it.")]
    assert told == [
        "Gemini is down. (A)\nTop up.", "It died.", "Its flow run was deleted.", "Prefect did not start it.",
    ]  # fmt: skip
