"""The flows of a network's members: started, awaited, their ends collected; one that fails stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from flows.guards import Problems
from flows.network_org_missing import network_org_missing
from tasks.artifacts import Progress
from tasks.network import load_members
from tasks.resources import current
from visibility.domain import BatchKey, Member
from visibility.errors import BatchFailed, ConfigurationError, VisibilityError
from visibility.network_summary import Child, NetworkOrgSummary
from visibility.networks import DAYS_BACK
from visibility.store.networks import count_missing

Spawn = Literal["subflow", "deployment"]

DEPLOYMENT = "network-org-missing/network-org-missing"
POLL_SECONDS = 5.0
PAGE = 100  # flow runs per request


async def check_spawn(spawn: Spawn) -> None:
    """Raise ConfigurationError, before anything is bought, where the members' deployment does not exist."""
    if spawn == "deployment":
        async with get_client() as client:
            try:
                await client.read_deployment_by_name(DEPLOYMENT)
            except ObjectNotFound:
                raise ConfigurationError(
                    f'There is no deployment {DEPLOYMENT}, which spawn="deployment" needs: deploy it with '
                    '`prefect --no-prompt deploy --all`, or use spawn="subflow".'
                ) from None


async def evaluate_members(key: BatchKey, batch_id: UUID, spawn: Spawn, problems: Problems) -> list[Child]:
    """Evaluate every org that is in the network now, in a flow each; return how each flow ended."""
    members = await load_members(key.owner_id)
    sandbox = current().settings.sandbox
    progress = await Progress.begin("members evaluated", len(members), sandbox=sandbox)
    if spawn == "subflow":
        children = await _in_this_process(key, members, progress)
    else:
        children = await _on_the_pool(key, batch_id, members, progress)
        for child in children:  # subflows have left their problems already, runs on a pool cannot
            if child.reason is not None:
                problems.add(BatchFailed(f"{child.org_name}: {child.reason}"))
    await progress.finish()
    return children


async def _in_this_process(key: BatchKey, members: Sequence[Member], progress: Progress) -> list[Child]:
    limit = asyncio.Semaphore(current().settings.orgs_in_flight)

    async def one(member: Member) -> Child:
        async with limit:
            state = await network_org_missing(
                member.org_id, key.owner_id, None, "network", key.run_date, return_state=True
            )
            child = await _ended(member, state)
            await progress.advance(1)
            get_run_logger().info("%s: %s", member.name, child.reason or child.state)
            return child

    return list(await asyncio.gather(*map(one, members)))


async def _ended(member: Member, state: State[NetworkOrgSummary]) -> Child:
    """Return how a member's flow ended; what it raised is its reason."""
    result = await state.aresult(raise_on_failure=False)
    reason = None
    if not state.is_completed():
        reason = str(result) if isinstance(result, VisibilityError) else f"Unexpected {type(result).__name__}."
    return Child(
        org_id=member.org_id,
        org_name=member.name,
        state=state.type.value.lower(),
        reason=reason,
        flow_run_id=state.state_details.flow_run_id,
    )


async def _on_the_pool(key: BatchKey, batch_id: UUID, members: Sequence[Member], progress: Progress) -> list[Child]:
    """Start a run of the deployment for every member and wait for all of them."""
    resources = current()
    missing = await resources.database.run(
        count_missing,
        key.owner_id,
        resources.extractor_version,
        sandbox=resources.settings.sandbox,
        since=datetime.now(UTC).date() - timedelta(days=DAYS_BACK),
        also=key.run_date,
    )
    started = [await _start(key, batch_id, member, again=bool(missing.get(member.org_id))) for member in members]
    get_run_logger().info("waiting for %s runs of %s", len(started), DEPLOYMENT)
    ended = await _wait_for([run.id for run in started], progress)
    return [_child(member, ended[run.id]) for member, run in zip(members, started, strict=True)]


async def _start(key: BatchKey, batch_id: UUID, member: Member, *, again: bool) -> FlowRun:
    """Start a member's run, or find the one that an earlier parent has started.

    A run that has ended is started `again` under the next idempotency key when there is work left for it.
    """
    parameters = {
        "org_id": str(member.org_id),
        "network_id": str(key.owner_id),
        "triggered_by": "network",
        "run_date": key.run_date.isoformat(),
    }
    number = 1
    while True:
        run = await arun_deployment(
            DEPLOYMENT, parameters=parameters, idempotency_key=f"{batch_id}-{member.org_id}-{number}", timeout=0
        )
        if run.state is None or not run.state.is_final() or (run.state.is_completed() and not again):
            return run
        number += 1


async def _wait_for(flow_run_ids: Sequence[UUID], progress: Progress) -> dict[UUID, FlowRun]:
    """Poll until every run has ended; a run that nobody picks up is given up when the holds have lapsed."""
    ended: dict[UUID, FlowRun] = {}
    seen: dict[UUID, FlowRun] = {}
    deadline = datetime.now(UTC) + timedelta(hours=current().settings.hold_hours)
    while len(ended) < len(flow_run_ids) and datetime.now(UTC) < deadline:
        open_ids = [run_id for run_id in flow_run_ids if run_id not in ended][:PAGE]
        async with get_client() as client:
            runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=open_ids)))
        finished = {run.id: run for run in runs if run.state is not None and run.state.is_final()}
        seen.update({run.id: run for run in runs})
        ended.update(finished)
        await progress.advance(len(finished))
        if not finished:
            await asyncio.sleep(POLL_SECONDS)
    return seen | ended


def _child(member: Member, run: FlowRun) -> Child:
    state = run.state
    assert state is not None
    reason = None if state.is_completed() else state.message or f"The run is {state.name}."
    return Child(
        org_id=member.org_id, org_name=member.name, state=state.type.value.lower(), reason=reason, flow_run_id=run.id
    )
