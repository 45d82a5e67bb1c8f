"""Runs of a deployment on a work pool: each started once, awaited together, its end put into words."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from flows.guards import WITH_PROBLEMS, Problems
from tasks.resources import current
from visibility import errors
from visibility.errors import BatchFailed, ConfigurationError

POLL_SECONDS = 5.0
POLL_SHARE = 0.1  # of the waiting time at most is spent on asking, however many runs there are
PAGE = 100  # flow runs per request; Prefect's server returns 200 at most
STARTED_AT_A_TIME = 10
LONGEST_REASON = 500  # characters

RAISED = re.compile(
    r"(?:Flow run encountered an|Execution was interrupted by an unexpected) exception: (\w+): (.*)", re.S
)
OWN_ERRORS = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type)}

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A flow run that is to be there: for whom, with which idempotency key (but for its number) and parameters."""

    subject_id: UUID
    key: str
    parameters: Mapping[str, Any]


async def check_deployment(deployment: str) -> None:
    """Raise ConfigurationError where the deployment does not exist."""
    async with get_client() as client:
        try:
            await client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            raise ConfigurationError(
                f'There is no deployment {deployment}, which spawn="deployment" needs: deploy it with '
                '`prefect --no-prompt deploy --all`, or use spawn="subflow".'
            ) from None


async def is_served(deployment: str) -> bool:
    """Return whether the deployment exists and a worker is online in its work pool, which is not paused."""
    async with get_client() as client:
        try:
            pool = (await client.read_deployment_by_name(deployment)).work_pool_name
            if pool is None or (await client.read_work_pool(pool)).is_paused:
                return False
            workers = await client.read_workers_for_work_pool(pool)
        except ObjectNotFound:
            return False
    return any(worker.status == WorkerStatus.ONLINE for worker in workers)


async def start_runs(deployment: str, wanted: Sequence[Wanted], again: Collection[UUID]) -> dict[UUID, FlowRun | str]:
    """Start every run, or find the one that an earlier parent has started; by subject, else why none started.

    A run that has ended is repeated under the next number: always when it did not end well, else when its subject is
    among those to do `again`. Prefect starts nothing twice under one key.
    """
    runs: dict[UUID, FlowRun | str] = {}
    left, number = list(wanted), 0
    while left:
        number += 1
        keys = {f"{one.key}-{number}": one for one in left}
        found = {str(run.idempotency_key): run for run in await patiently(runs_with_keys, list(keys))}
        missing = {key: one.parameters for key, one in keys.items() if key not in found}
        ends = await started(deployment, missing)
        runs.update({keys[key].subject_id: run for key, run in {**ends, **found}.items()})
        left = [keys[key] for key, run in found.items() if _to_repeat(run, again=keys[key].subject_id in again)]
    return runs


async def started(deployment: str, parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, FlowRun | str]:
    """Start a run with the parameters for each key, a few at a time; by key, else why Prefect refuses to.

    Of a key that was used before it is the run of then.
    """
    limit = asyncio.Semaphore(STARTED_AT_A_TIME)

    async def start(key: str) -> FlowRun | str:
        async with limit:
            return await _started(deployment, parameters[key], key)

    return dict(zip(parameters, await asyncio.gather(*map(start, parameters)), strict=True))


async def wait_for_runs(
    run_ids: Sequence[UUID], on_ended: Callable[[int], Awaitable[None]] | None = None
) -> dict[UUID, FlowRun]:
    """Wait until every run has ended, at most until the holds lapse; return them as last seen, the deleted left out.

    `on_ended` hears how many more have ended.
    """
    seen: dict[UUID, FlowRun] = {}
    open_ids, deadline = list(run_ids), time.monotonic() + _patience_seconds()
    while open_ids and (began := time.monotonic()) < deadline:
        runs = {run.id: run for run in await patiently(_runs_with_ids, open_ids)}
        seen = {run_id: run for run_id, run in seen.items() if run_id not in open_ids} | runs
        still_open = [run_id for run_id, run in runs.items() if run.state is None or not run.state.is_final()]
        if on_ended is not None and len(still_open) < len(open_ids):
            await on_ended(len(open_ids) - len(still_open))
        open_ids = still_open
        if open_ids:
            await asyncio.sleep(max(POLL_SECONDS, (time.monotonic() - began) / POLL_SHARE))
    return seen


def reason_of_start(begun: FlowRun | str, seen: Mapping[UUID, FlowRun]) -> str | None:
    """Say why what was started did not end well, or did not start; None when it ended well."""
    if isinstance(begun, str):
        return begun
    run = seen.get(begun.id)
    return "Its flow run was deleted." if run is None else reason_of_run(run)


def reason_of_run(run: FlowRun) -> str | None:
    """Say why a run did not end well; the text of a foreign error may quote answers and stays in its log."""
    state = run.state
    if state is None or not state.is_final():
        return f"Its flow run did not end before the holds lapsed; it is {state.name if state else 'unknown'}."
    if state.is_completed():
        return None
    if raised := RAISED.match(state.message or ""):
        name, sentence = raised.groups()
        return sentence if name in OWN_ERRORS else f"Unexpected {name}; the log of its flow run says more."
    return _shortened(state.message or f"Its flow run was {state.type.value.lower()}.")


def problems_of(begun: FlowRun | str, seen: Mapping[UUID, FlowRun]) -> Problems:
    """Return what to tell of a run: why it did not end well, else the problems that it has tolerated."""
    problems = Problems()
    told = [reason] if (reason := reason_of_start(begun, seen)) else _tolerated(begun, seen)
    for sentence in told:
        problems.add(BatchFailed(sentence))
    return problems


def _tolerated(begun: FlowRun | str, seen: Mapping[UUID, FlowRun]) -> list[str]:
    state = None if isinstance(begun, str) else seen[begun.id].state
    return (state.message or "").splitlines() if state is not None and state.name == WITH_PROBLEMS else []


async def patiently(request: Callable[..., Awaitable[Result]], *args: Any) -> Result:
    """Repeat a request to Prefect while its API does not answer, at most until the holds lapse.

    Prefect's own client tries for a minute. Raises httpx.HTTPError for what the API refuses (4xx).
    """
    deadline = time.monotonic() + _patience_seconds()
    while True:
        try:
            return await request(*args)
        except httpx.HTTPError as error:
            if _is_refusal(error) or time.monotonic() > deadline:
                raise
            get_run_logger().warning("Prefect's API does not answer (%s): asking again", type(error).__name__)
        await asyncio.sleep(POLL_SECONDS)


def _is_refusal(error: httpx.HTTPError) -> bool:
    if not isinstance(error, httpx.HTTPStatusError) or error.response.status_code in (408, 429):
        return False
    return error.response.is_client_error


async def _started(deployment: str, parameters: Mapping[str, Any], key: str) -> FlowRun | str:
    """Start a run; return why Prefect refuses to, as it does for parameters that the deployment does not take."""

    async def start() -> FlowRun:
        return await arun_deployment(deployment, parameters=dict(parameters), idempotency_key=key, timeout=0)

    try:
        return await patiently(start)
    except (httpx.HTTPError, ObjectNotFound) as error:
        return _shortened(f"Prefect did not start a run of {deployment}: {error}")


async def _runs_with_ids(run_ids: Sequence[UUID]) -> list[FlowRun]:
    pages = _pages(run_ids)
    return await _read([FlowRunFilter(id=FlowRunFilterId(any_=list(page))) for page in pages])


async def runs_with_keys(keys: Sequence[str]) -> list[FlowRun]:
    pages = _pages(keys)
    return await _read([FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=list(page))) for page in pages])


async def _read(filters: Sequence[FlowRunFilter]) -> list[FlowRun]:
    async with get_client() as client:
        return [run for one in filters for run in await client.read_flow_runs(flow_run_filter=one)]


def _pages(items: Sequence[Result]) -> list[Sequence[Result]]:
    return [items[first : first + PAGE] for first in range(0, len(items), PAGE)]


def is_over(run: FlowRun) -> bool:
    """True for a run that does nothing more: it has ended, or is being cancelled."""
    return run.state is not None and (run.state.is_final() or run.state.is_cancelling())


def _to_repeat(run: FlowRun, *, again: bool) -> bool:
    return is_over(run) and (again or run.state is None or not run.state.is_completed())


def _patience_seconds() -> float:
    return current().settings.hold_seconds


def _shortened(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON]
