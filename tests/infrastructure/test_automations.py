"""Automations of the files at a real server: who dies without a word is told of once, who told by himself is not."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
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
from prefect.states import Completed, Crashed, Failed, Late, Pending, Running

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
from visibility.settings import Settings
from visibility.store.database import Database

FILES = read_automations()
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
async def applied(client: PrefectClient, slack_url: str, pool_id: UUID, runs: Sequence[UUID]) -> AsyncIterator[None]:
    """Apply all files with the shortest window, for this pool and these runs only: other tests share the server."""
    _, (_, block) = alert_documents(slack_url, ["alerts"])
    block_id = await block.save(f"alerts-{uuid4().hex[:12]}", client=client)
    ids = [f"prefect.work-pool.{pool_id}", *(f"prefect.flow-run.{run}" for run in runs)]
    made = [await client.create_automation(_of(ids, content, block_id)) for content in FILES]
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


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_what_cannot_speak_for_itself_is_told_of_once_and_what_a_dead_run_left_is_finished(
    prefect: str, database: Database, database_url: str, vendors: RunningSandbox, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with database.transaction() as session:
        org_id = seed_org(session, questions=1, locations=(("US", None, None),))
    pool, slack_url = pool_name(), f"{vendors.url}/slack/x"
    monkeypatch.setenv("SLACK_WEBHOOK_BLOCK", await save_webhook(slack_url))
    deployment = await deploy_flow(org_evaluation, pool)
    async with get_client() as client:
        deployment_id = (await client.read_deployment_by_name(deployment)).id
        pool_id = (await client.read_work_pool(pool)).id

        async def run_in(queue: str) -> UUID:
            create, org = client.create_flow_run_from_deployment, {"org_id": str(org_id)}
            return (await create(deployment_id, parameters=org, work_queue_name=queue)).id

        killed = await run_in("default")
        others = [await run_in("without a worker") for _ in range(7)]
        told, refused, never_began, late, waiting, endless, fine = others
        async with applied(client, slack_url, pool_id, [killed, *others]):
            environment = worker_environment(prefect, database_url, vendors.url, 12, tmp_path)
            with worker_of(pool, environment, tmp_path / "worker.log") as worker:
                await until(lambda: bool(value(database, "SELECT count(*) > 0 FROM provider_jobs")))
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
                told: "by its own hook",
                refused: "no such image",
                never_began: "no such parameter",
                late: f"Runs of {pool} are late",
                waiting: "does not begin",
                endless: "has been running for three hours",
                killed: "Its heartbeats have stopped",
                pool_id: f"No worker serves the work pool {pool}",
            }
            await until(lambda: any(expected[killed] in text for text in alerts(vendors)))
            assert (await client.read_flow_run(killed)).state_name == "Crashed"
            assert (await client.read_flow_run(fine)).state_name == "Completed with problems"
    texts = alerts(vendors)
    print("\n---\n".join(texts))
    found = [subject for text in texts for subject, said in expected.items() if str(subject) in text and said in text]
    assert len(texts) == len(expected) and sorted(found) == sorted(expected)
    async with resources.opened(Settings(database_url=database_url).for_sandbox(vendors.url, 12)):
        summary = await reconcile()
    assert [action.what for action in summary.actions] == ["resume"]
    assert value(database, "SELECT status FROM evaluation_batches") == "completed"
    assert vendors.accounting()["totals"]["records_sold"] == 3 and vendors.accounting()["bought_twice"] == []
