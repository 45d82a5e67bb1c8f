"""Members as runs of a deployment on a work pool: started once, linked, awaited, their ends told by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow, get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows import members, pool_runs
from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from sandbox.server import RunningSandbox
from tasks import resources
from tasks.artifacts import Progress
from tests.support.end_state import books, execute, value
from tests.support.league import DAY, join, seed_league
from tests.support.pool import deploy_flow, pool_name, runs_of, serving, start_parent, worker_environment
from tests.support.slack import alerts
from tests.support.waiting import PATIENCE
from visibility.domain import Spawn
from visibility.errors import BatchFailed
from visibility.network_summary import NetworkSummary
from visibility.settings import Settings
from visibility.store.database import Database

FIRST, SECOND = "Harbor Lenders", "Tiny Lender"
CRASHED = "Flow run process exited with non-zero status code -9."


@pytest.fixture
def network_id(database: Database, sandbox: RunningSandbox) -> UUID:
    """A network of one answer and two members, the second of which may spend too little."""
    league = seed_league(database, sandbox, members=[FIRST], questions=["Who lends?"], models=["chatgpt"],
                         locations=[("US", None, None)])  # fmt: skip
    join(database, league.network_id, SECOND, spend_limit="0.01")
    return league.network_id


async def deployed(monkeypatch: pytest.MonkeyPatch, *required: str) -> tuple[str, str]:
    """Deploy the members' flow for this test alone; return pool and deployment."""
    pool = pool_name()
    deployment = await deploy_flow(network_org_missing, pool, *required)
    monkeypatch.setattr(members, "DEPLOYMENT", deployment)
    monkeypatch.setattr(pool_runs, "POLL_SECONDS", 0.3)
    return pool, deployment


async def ask(settings: Settings, network_id: UUID, spawn: Spawn = "deployment") -> NetworkSummary:
    """Run the parent; return its summary, also a failed one's."""
    try:
        async with resources.opened(settings):
            return await network_questions(network_id, run_date=DAY, spawn=spawn)
    except BatchFailed as error:
        summary = error.summary
    assert isinstance(summary, NetworkSummary)
    return summary


async def until(found: Callable[[], Awaitable[list[FlowRun]]], number: int) -> list[FlowRun]:
    """Wait until there are so many flow runs."""
    async with asyncio.timeout(PATIENCE):
        while len(await found()) < number:  # noqa: ASYNC110 - Prefect tells nobody
            await asyncio.sleep(0.1)
    return await found()


async def end(run: FlowRun, state: Any) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(run.id, state, force=True)


def ends(summary: NetworkSummary) -> dict[str, tuple[str, str | None]]:
    return {child.org_name: (child.state, child.reason) for child in summary.children}


@pytest.mark.slow
async def test_members_on_a_pool_are_started_once_whatever_becomes_of_their_parents(
    prefect: str, database: Database, database_url: str, settings: Settings, network_id: UUID, slack: RunningSandbox,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pool, deployment = await deployed(monkeypatch)

    async def runs() -> list[FlowRun]:
        return await runs_of(deployment)

    killed = start_parent(prefect, settings, deployment, network_id=network_id, run_date=DAY)
    started = {str(run.parameters["org_id"]): run for run in await until(runs, 2)}
    killed.kill()
    killed.join(20)
    assert len(started) == 2 and all(run.parent_task_run_id for run in started.values())
    first, second = (started[str(org_id)] for org_id in names(database))

    # Nobody serves the pool. A cancelled run is started again, one that waits for a worker is not.
    await end(first, Cancelled(message="cancelled by ana"))
    parent = asyncio.create_task(ask(settings, network_id))
    (again,) = (run for run in await until(runs, 3) if run.id not in (first.id, second.id))
    await end(again, Cancelled(message="cancelled by ben"))
    await end(second, Crashed(message=CRASHED))
    summary = await parent
    assert len(await runs()) == 3
    assert ends(summary) == {FIRST: ("cancelled", "cancelled by ben"), SECOND: ("crashed", CRASHED)}
    (alert,) = alerts(slack)
    assert f"{CRASHED} ({SECOND})" in alert and f"cancelled by ben ({FIRST})" in alert

    environment = worker_environment(prefect, database_url, slack.url, 200, tmp_path)
    with serving(pool, environment, tmp_path / "worker.log"):
        summary = await ask(settings, network_id)
    assert len(await runs()) == 5
    state, reason = ends(summary)[SECOND]
    assert ends(summary)[FIRST] == ("completed", None)
    assert state == "failed" and reason is not None and reason.startswith(f"Org {SECOND!r} has a spend_limit of")
    assert len(alerts(slack)) == 2, "the parent speaks for its members"

    # Who has failed is started again, who has read everything is not.
    execute(database, "UPDATE orgs SET spend_limit = NULL")
    parent = asyncio.create_task(ask(settings, network_id))
    (*_, last) = await until(runs, 6)
    await end(last, Cancelled(message="cancelled by cem"))
    assert ends(await parent) == {FIRST: ("completed", None), SECOND: ("cancelled", "cancelled by cem")}

    summary = await ask(settings, network_id, spawn="subflow")
    assert len(await runs()) == 6
    assert summary.status == "completed" and set(ends(summary).values()) == {("completed", None)}
    assert slack.accounting()["totals"]["records_sold"] == 1
    assert value(database, "SELECT count(*) FROM org_evals") == summary.charges == 2 and books(database) == {0}


def names(database: Database) -> list[UUID]:
    """Return the ids of the members by name."""
    return value(database, "SELECT array_agg(org_id ORDER BY name) FROM orgs")


async def test_a_deployment_that_refuses_its_parameters_is_told_for_every_member(
    prefect: str, settings: Settings, network_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = await deployed(monkeypatch, "region")
    summary = await ask(settings, network_id)
    assert summary.reason is not None and f"{FIRST}, {SECOND}" in summary.reason
    for state, reason in ends(summary).values():
        assert state == "failed" and reason is not None
        assert reason.startswith(f"Prefect did not start a run of {deployment}") and "region" in reason
    assert await runs_of(deployment) == []


async def test_a_worker_that_reads_nothing_of_what_was_asked_is_no_success(
    prefect: str, settings: Settings, network_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that is configured for real vendors, where the parent has asked simulated ones."""
    _, deployment = await deployed(monkeypatch)
    parent = asyncio.create_task(ask(settings, network_id))
    for run in await until(lambda: runs_of(deployment), 2):
        await end(run, Completed())
    summary = await parent
    assert summary.status == "failed" and summary.answered == 1
    assert all(
        state == "failed" and "same code and settings" in str(reason) for state, reason in ends(summary).values()
    )


async def test_waiting_sees_every_page_outlives_a_silent_api_and_deleted_runs(
    prefect: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = await deployed(monkeypatch)
    monkeypatch.setattr(pool_runs, "PAGE", 2)
    monkeypatch.setattr(pool_runs, "POLL_SECONDS", 0.05)
    silent = iter([httpx.ReadError("reset"), httpx.ConnectError("refused"), answer(500)])
    monkeypatch.setattr(pool_runs, "get_client", lambda: Hesitant(get_client(), silent))
    progress = Progress(None, 5)

    @flow
    async def parent() -> dict[UUID, FlowRun]:
        async with get_client() as client:
            found = await client.read_deployment_by_name(deployment)
            given = {"org_id": str(UUID(int=5))}
            runs = [await client.create_flow_run_from_deployment(found.id, parameters=given) for _ in range(5)]
            waiting = asyncio.create_task(pool_runs.wait_for_runs([run.id for run in runs], progress.advance))
            await asyncio.sleep(0.5)
            await client.delete_flow_run(runs[1].id)
            for run in (runs[4], runs[3], runs[2]):
                await end(run, Completed())
            while progress.done < 4:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
            await end(runs[0], Failed(message="Flow run encountered an exception: ValueError: the secret is 12"))
            async with asyncio.timeout(PATIENCE):
                seen = await waiting
        assert set(seen) == {run.id for run in runs} - {runs[1].id}
        assert pool_runs.reason_of_run(seen[runs[0].id]) == "Unexpected ValueError; the log of its flow run says more."
        return seen

    async with resources.opened(settings):
        await parent()
    assert progress.done == 5 and next(silent, None) is None


def answer(status: int) -> httpx.HTTPStatusError:
    response = httpx.Response(status, request=httpx.Request("POST", "http://prefect.example"))
    return httpx.HTTPStatusError("broken", request=response.request, response=response)


class Hesitant:
    """Prefect's client, which first fails to read flow runs, once for each of the errors."""

    def __init__(self, client: PrefectClient, errors: Any) -> None:
        self.client, self.errors = client, errors

    async def __aenter__(self) -> Hesitant:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self.client.__aexit__(*raised)

    async def read_flow_runs(self, **query: Any) -> list[FlowRun]:
        if error := next(self.errors, None):
            raise error
        return await self.client.read_flow_runs(**query)
