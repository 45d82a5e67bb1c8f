"""A work pool of one test: a deployment on it, a process worker, a parent that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from prefect import Flow, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.callables import parameter_schema

from deployments.local import sandbox_environment
from deployments.local.processes import WITH_DEFAULT_SIGNALS
from tests.support.waiting import PATIENCE
from visibility.settings import Settings

REPOSITORY = Path(__file__).parents[2]
PULL = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["pull"]


def prefect_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


async def deploy_flow(flow: Flow[..., Any], pool: str, *required: str) -> str:
    """Deploy a flow to a new process pool, as prefect.yaml does; return the deployment's full name.

    `required`: further parameters that the deployment must be given, as one of another version.
    """
    schema = parameter_schema(flow).model_dump()
    schema["required"] = [*schema["required"], *required]
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        await client.create_deployment(
            await client.create_flow(flow),
            pool,
            work_pool_name=pool,
            entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}",
            pull_steps=PULL,
            parameters={"triggered_by": "deployment"},
            parameter_openapi_schema=schema,
            enforce_parameter_schema=True,
        )
    return f"{flow.name}/{pool}"


async def runs_of(deployment: str) -> list[FlowRun]:
    """Return the flow runs of a deployment, the oldest first."""
    async with get_client() as client:
        found = await client.read_deployment_by_name(deployment)
        runs = await client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])))
    return sorted(runs, key=lambda run: run.created or 0)


def worker_environment(
    api_url: str, database_url: str, sandbox_url: str, time_scale: float, folder: Path
) -> dict[str, str]:
    """Return the environment of a worker whose flows find the test's database and sandbox."""
    settings = Settings(database_url=database_url)
    return {
        **os.environ,
        **sandbox_environment(settings, sandbox_url, time_scale),
        "DATABASE_URL": database_url,
        "PREFECT_API_URL": api_url,
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "results"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


@contextmanager
def serving(pool: str, environment: dict[str, str], log_file: Path) -> Iterator[None]:
    """A process worker of the pool's default queue."""
    arguments = ("worker", "start", "--pool", pool, "--work-queue", "default", "--install-policy", "never")
    with log_file.open("a") as log:
        started = [sys.executable, "-c", WITH_DEFAULT_SIGNALS, *prefect_command(*arguments)]
        worker = subprocess.Popen(
            started, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=PATIENCE)
        finally:
            worker.kill()
            worker.wait()
            print(log_file.read_text())


def start_parent(api_url: str, settings: Settings, deployment: str, **parameters: Any) -> ForkServerProcess:
    """Start `network_questions` in a new process, its members on the pool of a deployment."""
    processes = multiprocessing.get_context("forkserver")
    process = processes.Process(target=_parent, args=(api_url, settings, deployment, parameters), daemon=True)
    process.start()
    return process


def _parent(api_url: str, settings: Settings, deployment: str, parameters: dict[str, Any]) -> None:
    from flows import members
    from tests.support.flow_process import run_flow

    members.DEPLOYMENT = deployment
    run_flow(api_url, settings, "network_questions", {**parameters, "spawn": "deployment"})


def pool_name() -> str:
    """Return a name that no other test uses."""
    return f"members-{uuid4().hex[:8]}"
