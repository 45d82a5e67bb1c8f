"""Automations of the files at a real server: who dies without a word is told of once, who told by himself is not."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from logging import getLogger
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.events import emit_event
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Completed, Crashed, Failed, Late, Pending, Running, Scheduled

from deployments.bootstrap.automations import read_automations, with_block
from deployments.bootstrap.documents import alert_documents
from deployments.local.processes import WITH_DEFAULT_SIGNALS
from flows.org_evaluation import org_evaluation
from flows.reconcile import reconcile
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tasks.alert import deliver
from tests.support.end_state import value
from tests.support.pool import REPOSITORY, deploy_flow, pool_name, prefect_command, worker_environment
from tests.support.seed import QUESTIONS, seed_org
from tests.support.slack import alerts, save_webhook
from tests.support.waiting import eventually_beside
from visibility.settings import Settings
from visibility.store.database import Database

FILES = read_automations()
STUCK = {f"Visibility: a flow run does not {what}" for what in ("begin", "end")}
SHORTEST_SECONDS = 10  # of the window of an automation that waits for what does not come


@pytest.fixture
def vendors() -> Iterator[RunningSandbox]:
    """Simulated vendors, and Slack, that leave seconds between asking and answering."""
    with serve_in_thread(time_scale=12) as running:
        running.learn({"name": "Northwind Heating", "websites": [], "questions": list(QUESTIONS)})
        yield running


@contextmanager
def worker_of(pool: str, environment: dict[str, str], log_file: Path) -> Iterator[psutil.Process]:
    """A process worker that the test kills, with the processes that it has started."""
    arguments = prefect_command(
        "worker", "start", "--pool", pool, "--work-queue", "default", "--install-policy", "never"
    )
    with log_file.open("w") as log:
        started = subprocess.Popen(
            [sys.executable, "-c", WITH_DEFAULT_SIGNALS, *arguments],
            cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    worker = psutil.Process(started.pid)
    try:
        yield worker
    finally:
        kill(worker)
        started.wait()
        print(log_file.read_text())


def kill(worker: psutil.Process) -> None:
    """SIGKILL a worker and its flow runs: nobody is left to say what happened."""
    if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        for process in (worker, *worker.children(recursive=True)):
            process.send_signal(signal.SIGKILL)


@asynccontextmanager
async def applied(
    client: PrefectClient, slack_url: str, pool_id: UUID, killed: UUID, runs: Sequence[UUID]
) -> AsyncIterator[None]:
    """Apply all files with the shortest window, for this pool and these runs only: other tests share the server.

    The killed run really begins and runs, which on a busy machine takes longer than that window: it is not watched for
    being stuck.
    """
    _, (_, block) = alert_documents(slack_url, ["alerts"])
    block_id = await block.save(f"alerts-{uuid4().hex[:12]}", client=client)
    ids = [f"prefect.work-pool.{pool_id}", *(f"prefect.flow-run.{run}" for run in runs)]
    made = []
    for content in FILES:
        watched = ids if content["name"] in STUCK else [*ids, f"prefect.flow-run.{killed}"]
        made.append(await client.create_automation(_of(watched, content, block_id)))
    try:
        yield
    finally:
        for automation_id in made:
            await client.delete_automation(automation_id)


def _of(ids: list[str], content: dict[str, Any], block_id: UUID) -> AutomationCore:
    trigger = dict(content["trigger"])
    trigger["match"] = {**trigger["match"], "prefect.resource.id": ids}
    trigger["within"] = min(trigger["within"], SHORTEST_SECONDS)
    wanted = with_block({**content, "name": f"{content['name']} {uuid4().hex}", "trigger": trigger}, block_id, "it")
    assert wanted is not None
    return wanted


@pytest.mark.slow
async def test_what_cannot_speak_for_itself_is_told_of_once_and_what_a_dead_run_left_is_finished(
    prefect: str, database: Database, database_url: str, vendors: RunningSandbox, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with database.transaction() as session:
        org_id = seed_org(session, questions=1, locations=(("US", None, None),))
    pool, slack_url = pool_name(), f"{vendors.url}/slack/x"
    monkeypatch.setenv("SLACK_WEBHOOK_BLOCK", await save_webhook(slack_url))
    late_pool = pool_name()
    deployment, late_deployment = await deploy_flow(org_evaluation, pool), await deploy_flow(org_evaluation, late_pool)
    async with get_client() as client:
        pool_id = (await client.read_work_pool(pool)).id

        async def run_of(name: str, scheduled: datetime) -> UUID:
            found = await client.read_deployment_by_name(name)
            return (
                await client.create_flow_run_from_deployment(
                    found.id, parameters={"org_id": str(org_id)}, state=Scheduled(scheduled_time=scheduled)
                )
            ).id

        now = datetime.now(UTC)
        later = now + timedelta(hours=1)  # no worker takes them, and none is late by itself
        killed = await run_of(deployment, now)
        late = await run_of(late_deployment, later)
        others = [await run_of(deployment, later) for _ in range(6)]
        told, refused, never_began, waiting, endless, fine = others
        async with applied(client, slack_url, pool_id, killed, [late, *others]):
            environment = worker_environment(prefect, database_url, vendors.url, 12, tmp_path)
            with worker_of(pool, environment, tmp_path / "worker.log") as worker:
                await eventually_beside(lambda: bool(value(database, "SELECT count(*) > 0 FROM provider_jobs")))
                await asyncio.sleep(1)  # the heartbeat is on its way
                kill(worker)
            for run, *states in (
                (told, Crashed(message="told twice")),
                (refused, Crashed(message="no such image")),
                (never_began, Failed(message="no such parameter")),
                (late, Late()),
                (waiting, Pending(), Pending(name="InfrastructurePending")),
                (endless, Pending(), Running()),
                (fine, Pending(), Running(), Completed(name="Completed with problems")),
            ):
                for state in states:
                    await client.set_flow_run_state(run, state, force=True)
            await deliver("told crashed", "by its own hook", getLogger(__name__), told)
            emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{fine}"})
            emit_event("prefect.work-pool.not-ready", {"prefect.resource.id": f"prefect.work-pool.{pool_id}"})
            expected = {
                "by its own hook": told,
                "no such image": refused,
                "no such parameter": never_began,
                f"Runs of {late_pool} are late": late,
                "does not begin": waiting,
                "has been running for three hours": endless,
                "Its heartbeats have stopped": killed,
                f"No worker serves the work pool {pool}": pool,
            }
            await eventually_beside(lambda: any("Its heartbeats have stopped" in text for text in alerts(vendors)))
            assert (await client.read_flow_run(killed)).state_name == "Crashed"
            assert (await client.read_flow_run(fine)).state_name == "Completed with problems"
    texts = alerts(vendors)
    print("\n---\n".join(texts))
    found = [said for text in texts for said, about in expected.items() if said in text and str(about) in text]
    assert len(texts) == len(expected) and sorted(found) == sorted(expected)
    async with resources.opened(Settings(database_url=database_url).for_sandbox(vendors.url, 12)):
        summary = await reconcile()
    assert [action.what for action in summary.actions] == ["resume"]
    assert value(database, "SELECT status FROM evaluation_batches") == "completed"
    assert vendors.accounting()["totals"]["records_sold"] == 3 and vendors.accounting()["bought_twice"] == []
