"""The work pools: `local` for processes on this machine, `ecs` for tasks on AWS."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.bootstrap.outcome import Outcome, put_in_place
from visibility.errors import ConfigurationError


async def ensure_local_pool(client: PrefectClient, name: str, *, check: bool) -> Outcome:
    """Create the process pool; its template is Prefect's own and whatever people made of it."""
    return await _ensure(client, name, "process", ProcessWorker.get_default_base_job_template(), check, keep=True)


async def ensure_ecs_pool(client: PrefectClient, name: str, template: dict[str, Any], *, check: bool) -> Outcome:
    """Create the ECS pool, or bring its template up to date."""
    return await _ensure(client, name, "ecs", template, check, keep=False)


async def _ensure(
    client: PrefectClient, name: str, kind: str, template: dict[str, Any], check: bool, *, keep: bool
) -> Outcome:
    try:
        found = await client.read_work_pool(name)
    except ObjectNotFound:
        differs = None
    else:
        if found.type != kind:
            raise ConfigurationError(f"The work pool {name} is of type {found.type}, not {kind}; choose another name.")
        differs = not keep and found.base_job_template != template

    def create() -> Any:
        return client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))

    def update() -> Any:
        return client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))

    return await put_in_place(
        "work pool", name, differs=differs, create=create, update=update, check=check, why="base job template"
    )
