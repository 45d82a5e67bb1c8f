"""SIGTERM to the image's command as process 1, as ECS sends it: its flow run is scheduled again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from sqlalchemy import func, select

from flows.org_evaluation import org_evaluation
from sandbox.server import serve_in_thread
from tests.support import dockerfile
from tests.support.namespaces import as_process_one
from tests.support.pool import REPOSITORY, deploy_flow, pool_name, prefect_command, worker_environment
from tests.support.seed import QUESTIONS, seed_org
from tests.support.waiting import PATIENCE, eventually
from visibility.store.database import Database
from visibility.store.tables import ProviderJob

SIGTERM = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
TIME_SCALE = 12  # leaves seconds between asking and answering


@dataclass(frozen=True)
class Container:
    """One flow run, and the environment in which its container executes it."""

    flow_run_id: UUID
    environment: dict[str, str]
    database: Database

    @property
    def state(self) -> State:
        with SyncPrefectClient(self.environment["PREFECT_API_URL"]) as client:
            state = client.read_flow_run(self.flow_run_id).state
        assert state is not None
        return state

    def jobs(self) -> int:
        with self.database.transaction() as session:
            return session.scalar(select(func.count()).select_from(ProviderJob)) or 0

    @contextmanager
    def running(self) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
        """The image's command, and process 1 of its container."""
        _prefect, *arguments = dockerfile.command()
        command = as_process_one(prefect_command(*arguments, str(self.flow_run_id)))
        started = subprocess.Popen(command, cwd=REPOSITORY, env=self.environment, stdin=subprocess.DEVNULL)
        try:
            yield started, eventually(lambda: next(iter(psutil.Process(started.pid).children()), None))
        finally:
            started.kill()
            started.wait()


@pytest.fixture
async def container(prefect: str, database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Container]:
    with serve_in_thread(time_scale=TIME_SCALE) as vendors:
        vendors.learn({"name": "Northwind Heating", "websites": [], "questions": list(QUESTIONS)})
        with database.transaction() as session:
            org_id = seed_org(session, questions=1, locations=(("US", None, None),), days=range(7))
        name = await deploy_flow(org_evaluation, pool_name())
        async with get_client() as client:
            deployment = await client.read_deployment_by_name(name)
            flow_run = await client.create_flow_run_from_deployment(deployment.id, parameters={"org_id": str(org_id)})
        environment = worker_environment(prefect, database_url, vendors.url, TIME_SCALE, tmp_path)
        environment[SIGTERM] = dockerfile.environment()[SIGTERM]
        yield Container(flow_run.id, environment, database)


@pytest.mark.slow
def test_a_flow_run_whose_container_gets_sigterm_is_scheduled_again(container: Container) -> None:
    with container.running() as (started, process_one):
        eventually(container.jobs)
        began = time.monotonic()
        process_one.send_signal(signal.SIGTERM)
        started.wait(timeout=PATIENCE)
        assert time.monotonic() - began < 60  # of the 120 s that ECS gives; 3 s on an idle machine
    assert container.state.name == "AwaitingRetry" and started.returncode == 0
