"""The flows of a network's members: started, awaited, their ends collected; one that fails stops no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import State
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger

from flows.guards import Problems, ended
from flows.network_org_missing import network_org_missing
from flows.pool_runs import Wanted, check_deployment, problems_of, reason_of_start, start_runs, wait_for_runs
from flows.side_by_side import side_by_side
from tasks.artifacts import Progress
from tasks.network import load_members
from tasks.resources import current
from visibility.display import printable
from visibility.domain import BatchKey, Member, Spawn
from visibility.errors import sentence_of
from visibility.network_summary import Child, NetworkOrgSummary
from visibility.networks import DAYS_BACK
from visibility.store.networks import count_missing

DEPLOYMENT = "network-org-missing/network-org-missing"


async def check_spawn(spawn: Spawn) -> None:
    """Raise ConfigurationError, before anything is bought, where the members' flows could not be started."""
    if spawn == "deployment":
        await check_deployment(DEPLOYMENT)


async def evaluate_members(key: BatchKey, batch_id: UUID, spawn: Spawn, problems: Problems) -> list[Child]:
    """Evaluate every org that is in the network now, in a flow each; return how each flow ended."""
    members = await load_members(key.owner_id)
    sandbox = current().settings.sandbox
    progress = await Progress.begin("members evaluated", len(members), sandbox=sandbox)
    if spawn == "subflow":
        children = await _in_this_process(key, members, progress)
    else:
        children = await _on_the_pool(key, batch_id, members, progress, problems)
    await progress.finish()
    return children


async def _in_this_process(key: BatchKey, members: Sequence[Member], progress: Progress) -> list[Child]:
    async def one(member: Member) -> Child:
        state = await ended(
            network_org_missing(member.org_id, key.owner_id, None, "network", key.run_date, return_state=True)
        )
        child = await _ended(member, state)
        await progress.advance(1)
        get_run_logger().info("%s: %s", printable(member.name), child.reason or child.state)
        return child

    return await side_by_side(members, one)


async def _ended(member: Member, state: State[NetworkOrgSummary]) -> Child:
    """Return how a member's flow ended; what it raised is its reason."""
    result = await state.aresult(raise_on_failure=False)
    reason = sentence_of(result) if isinstance(result, BaseException) else None
    return Child(
        org_id=member.org_id,
        org_name=member.name,
        state=state.type.value.lower(),
        reason=reason,
        flow_run_id=state.state_details.flow_run_id,
    )


async def _on_the_pool(
    key: BatchKey, batch_id: UUID, members: Sequence[Member], progress: Progress, problems: Problems
) -> list[Child]:
    """Have a run of the deployment for every member and wait for all of them; take their problems over.

    Subflows leave theirs by themselves, runs on a pool cannot.
    """
    unread = await _unread(key)
    parameters = {"network_id": str(key.owner_id), "triggered_by": "network", "run_date": key.run_date.isoformat()}
    wanted = [
        Wanted(member.org_id, f"{batch_id}-{member.org_id}", {**parameters, "org_id": str(member.org_id)})
        for member in members
    ]
    runs = await start_runs(DEPLOYMENT, wanted, unread)
    started = {org_id: run.id for org_id, run in runs.items() if isinstance(run, FlowRun)}
    get_run_logger().info("waiting for the flow runs of %s members on the pool", len(started))
    await progress.advance(len(members) - len(started))
    seen = await wait_for_runs(list(started.values()), progress.advance)
    for member in members:
        problems.take_over(printable(member.name), problems_of(runs[member.org_id], seen))
    return [_child(member, runs[member.org_id], seen) for member in members]


async def _unread(key: BatchKey) -> set[UUID]:
    """Return the members for which there is something left to evaluate or to charge."""
    resources = current()
    missing = await resources.database.run(
        count_missing,
        key.owner_id,
        resources.extractor_version,
        sandbox=resources.settings.sandbox,
        since=datetime.now(UTC).date() - timedelta(days=DAYS_BACK),
        also=key.run_date,
    )
    return {org_id for org_id, number in missing.items() if number}


def _child(member: Member, started: FlowRun | str, seen: Mapping[UUID, FlowRun]) -> Child:
    """Return how a member's run ended; one that could not be started has failed."""
    child = Child(org_id=member.org_id, org_name=member.name, state="failed", reason=reason_of_start(started, seen))
    if isinstance(started, str):
        return child
    run = seen.get(started.id)
    state = {} if run is None or run.state is None else {"state": run.state.type.value.lower()}
    return child.model_copy(update={"flow_run_id": started.id, **state})
