"""The deployments of prefect.yaml: they load, deploy twice, run on a worker; what dies or is cancelled there alerts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectAlreadyExists, ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelling
from sqlalchemy import func, select

from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.pool import REPOSITORY, prefect_command, serving, worker_environment
from tests.support.seed import QUESTIONS, seed_org
from tests.support.slack import save_webhook
from tests.support.waiting import PATIENCE, eventually
from visibility.identity import is_alive
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.tables import Batch, ProviderJob

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
POOL = "suite"
QUEUE_WITHOUT_WORKER = "executed-by-the-test"
CHANGES_WITH_TIME: dict[str, Any] = {
    "updated": True, "last_polled": True, "status": True, "schedules": {"__all__": {"updated": True}}
}  # fmt: skip


def run_prefect(api_url: str, *arguments: str, **environment: str) -> str:
    """Run Prefect's command line as a person does; return what it says."""
    done = subprocess.run(
        prefect_command(*arguments),
        cwd=REPOSITORY,
        env={**os.environ, "PREFECT_API_URL": api_url, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployed(prefect_api: str) -> str:
    """The API of a server on which everything is deployed."""
    with SyncPrefectClient(prefect_api) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    run_prefect(prefect_api, "deploy", "--all", PREFECT_DEFAULT_WORK_POOL_NAME=POOL)
    return prefect_api


@pytest.mark.slow
async def test_deploying_again_changes_nothing(deployed: str, prefect: str) -> None:
    first = await stored_deployments()
    run_prefect(deployed, "deploy", "--all", PREFECT_DEFAULT_WORK_POOL_NAME=POOL)
    assert await stored_deployments() == first
    assert {deployment["name"] for deployment in first} == {deployment["name"] for deployment in DEPLOYMENTS}


@pytest.mark.slow
async def test_schedules_run_only_where_they_are_switched_on(deployed: str, prefect: str) -> None:
    assert {schedule["active"] for one in await stored_deployments() for schedule in one["schedules"]} == {False}
    run_prefect(deployed, "deploy", "--name", "reconcile", PREFECT_DEFAULT_WORK_POOL_NAME=POOL, SCHEDULES_ACTIVE="true")
    async with get_client() as client:
        found = await client.read_deployment_by_name("reconcile/reconcile")
        (schedule,) = found.schedules
        await client.update_deployment_schedule(found.id, schedule.id, active=False)
    assert (schedule.slug, schedule.active) == ("hourly", True)


async def stored_deployments() -> list[dict[str, Any]]:
    """Return what the server holds of prefect.yaml's deployments; other tests have some of their own."""
    names = {deployment["name"] for deployment in DEPLOYMENTS}
    async with get_client() as client:
        found = [one for one in await client.read_deployments() if one.name in names]
    return [one.model_dump(exclude=CHANGES_WITH_TIME) for one in sorted(found, key=lambda one: one.name)]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: str(deployment["name"]))
def test_an_entrypoint_loads_and_takes_its_parameters(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert flow.name == deployment["name"] and flow.retries == 0
    required = {name: [str(uuid4())] if name == "org_ids" else str(uuid4()) for name in flow.parameters.required}
    flow.validate_parameters({**required, **deployment["parameters"]})
    assert {*required, *deployment["parameters"]} == set(flow.parameters.properties), "each has its default in the file"
    if required:
        with pytest.raises(ParameterTypeError, match=r"valid (UUID|list)"):
            flow.validate_parameters(dict.fromkeys(required, "no-uuid"))


async def test_a_wrong_uuid_is_refused_before_anything_is_written(
    prefect: str, database: Database, settings: Settings
) -> None:
    async with resources.opened(settings):
        with pytest.raises(ParameterTypeError, match=r"org_id.*valid UUID"):
            await org_evaluation("no-uuid")  # type: ignore[arg-type]
    assert count(database, Batch) == 0


@dataclass(frozen=True)
class Run:
    """One scheduled evaluation, the environment of its process, and where its alerts arrive."""

    flow_run: FlowRun
    environment: dict[str, str]
    vendors: RunningSandbox
    database: Database

    def state(self) -> str:
        with SyncPrefectClient(self.environment["PREFECT_API_URL"]) as client:
            state = client.read_flow_run(self.flow_run.id).state
        return f"{state and state.name}"

    def batch_status(self) -> str | None:
        with self.database.transaction() as session:
            return session.scalar(select(Batch.status))

    def alerts(self) -> list[str]:
        messages = httpx.get(f"{self.vendors.url}/_slack", timeout=10).json()["messages"]
        return [message["body"]["text"] for message in messages]


def count(database: Database, table: type) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def vendors() -> Iterator[RunningSandbox]:
    """Simulated vendors that leave seconds between asking and answering."""
    with serve_in_thread(time_scale=12) as running:
        running.learn({"name": "Northwind Heating", "websites": [], "questions": list(QUESTIONS)})
        yield running


@pytest.fixture
async def run(
    deployed: str, prefect: str, database: Database, database_url: str, vendors: RunningSandbox, tmp_path: Path
) -> Run:
    """A flow run of the deployment, in a queue that no worker serves."""
    slack = await save_webhook(f"{vendors.url}/slack/x")
    with database.transaction() as session:
        org_id = seed_org(session, questions=1, locations=(("US", None, None),), days=range(7))
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("org-evaluation/org-evaluation")
        flow_run = await client.create_flow_run_from_deployment(
            deployment.id, parameters={"org_id": str(org_id)}, work_queue_name=QUEUE_WITHOUT_WORKER
        )
    environment = worker_environment(prefect, database_url, vendors.url, 12, tmp_path) | {"SLACK_WEBHOOK_BLOCK": slack}
    return Run(flow_run, environment, vendors, database)


@contextmanager
def executing(run: Run) -> Iterator[psutil.Process]:
    """Execute the flow run as the container of a deployment does; the process of the flow itself, at work."""
    process = subprocess.Popen(
        prefect_command("flow-run", "execute", str(run.flow_run.id)), cwd=REPOSITORY, env=run.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: count(run.database, ProviderJob), run.state)
        (flow_process,) = psutil.Process(process.pid).children()
        yield flow_process
        process.wait(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_flow_process_is_one_alert(run: Run) -> None:
    with executing(run) as flow_process:
        flow_process.send_signal(signal.SIGKILL)
    assert run.state() == "Crashed"
    (message,) = run.alerts()
    assert "org-evaluation" in message and "crashed" in message and str(run.flow_run.id) in message


@pytest.mark.slow
def test_a_cancelled_flow_run_is_one_alert_and_its_batch_says_so(run: Run) -> None:
    run.vendors.set_faults(script=[{"on": "trigger", "nth": 1, "times": 10**6, "fault": "job_never_ready"}])
    with executing(run), SyncPrefectClient(run.environment["PREFECT_API_URL"]) as client:
        client.set_flow_run_state(run.flow_run.id, Cancelling(message="cancelled by ana"))
    assert run.state() == "Cancelled"
    (message,) = run.alerts()
    assert "was cancelled" in message
    with run.database.transaction() as session:
        status, error, lease = session.execute(select(Batch.status, Batch.error, Batch.lease_owner)).one()
    # a process that Prefect had to kill leaves its batch to whoever finds its holder dead
    assert (status == "failed" and "cancelled" in error) if lease is None else is_alive(lease) is False


@pytest.mark.slow
@pytest.mark.long  # the suite evaluates the same night as tasks of ECS, where there is Terraform
def test_a_night_started_by_the_command_line_has_its_shard_run_beside_it_on_a_process_worker(
    run: Run, tmp_path: Path
) -> None:
    today = datetime.now(UTC).date()
    arguments = (
        "--watch",
        "--watch-timeout",
        str(PATIENCE - 30),
    )  # with the deployment's parameters, as by its schedule
    with serving(POOL, run.environment, tmp_path / "worker.log"):
        api_url = run.environment["PREFECT_API_URL"]
        said = run_prefect(api_url, "deployment", "run", "daily-evaluations/daily-evaluations", *arguments)
    assert "Completed" in said and run.batch_status() == "completed"
    with SyncPrefectClient(api_url) as client:
        possible = [f"evaluate-orgs-{day}-1" for day in (today, today + timedelta(days=1))]
        keys = FlowRunFilterIdempotencyKey(any_=possible)
        (shard,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=keys))
    assert shard.parameters["org_ids"] == [run.flow_run.parameters["org_id"]] and shard.parent_task_run_id
    assert run.alerts() == [] and run.vendors.accounting()["totals"]["records_sold"] == 3
