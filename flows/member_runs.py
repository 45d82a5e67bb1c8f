"""Runs of the members' deployment on a work pool: each started once, awaited together, its end put into words."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from tasks.artifacts import Progress
from tasks.resources import current
from visibility import errors
from visibility.domain import Member
from visibility.errors import ConfigurationError

DEPLOYMENT = "network-org-missing/network-org-missing"
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


async def check_deployment() -> None:
    """Raise ConfigurationError where the members' deployment does not exist."""
    async with get_client() as client:
        try:
            await client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            raise ConfigurationError(
                f'There is no deployment {DEPLOYMENT}, which spawn="deployment" needs: deploy it with '
                '`prefect --no-prompt deploy --all`, or use spawn="subflow".'
            ) from None


async def start_runs(
    batch_id: UUID, members: Sequence[Member], unread: Collection[UUID], parameters: Mapping[str, Any]
) -> dict[UUID, FlowRun | str]:
    """Start a run for every member, or find the one that an earlier parent has started; by org, else why none started.

    A run that has ended is repeated under the next idempotency key: always when it did not end well, else when its
    member is among the `unread` orgs. Prefect starts nothing twice under one key.
    """
    runs: dict[UUID, FlowRun | str] = {}
    limit = asyncio.Semaphore(STARTED_AT_A_TIME)

    async def start(member: Member, key: str) -> None:
        async with limit:
            runs[member.org_id] = await _started({**parameters, "org_id": str(member.org_id)}, key)

    left, number = list(members), 0
    while left:
        number += 1
        keys = {f"{batch_id}-{member.org_id}-{number}": member for member in left}
        found = {str(run.idempotency_key): run for run in await patiently(_runs_with_keys, list(keys))}
        await asyncio.gather(*(start(member, key) for key, member in keys.items() if key not in found))
        runs.update({keys[key].org_id: run for key, run in found.items()})
        left = [keys[key] for key, run in found.items() if _is_over(run, again=keys[key].org_id in unread)]
    return runs


async def wait_for_runs(run_ids: Sequence[UUID], progress: Progress) -> dict[UUID, FlowRun]:
    """Wait until every run has ended, at most until the holds lapse; return them as last seen, the deleted left out."""
    seen: dict[UUID, FlowRun] = {}
    open_ids, deadline = list(run_ids), time.monotonic() + _patience_seconds()
    while open_ids and (began := time.monotonic()) < deadline:
        runs = {run.id: run for run in await patiently(_runs_with_ids, open_ids)}
        seen = {run_id: run for run_id, run in seen.items() if run_id not in open_ids} | runs
        still_open = [run_id for run_id, run in runs.items() if run.state is None or not run.state.is_final()]
        if len(still_open) < len(open_ids):
            await progress.advance(len(open_ids) - len(still_open))
        open_ids = still_open
        if open_ids:
            await asyncio.sleep(max(POLL_SECONDS, (time.monotonic() - began) / POLL_SHARE))
    return seen


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
    return isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error


async def _started(parameters: Mapping[str, Any], key: str) -> FlowRun | str:
    """Start a run; return why Prefect refuses to, as it does for parameters that the deployment does not take."""

    async def start() -> FlowRun:
        return await arun_deployment(DEPLOYMENT, parameters=dict(parameters), idempotency_key=key, timeout=0)

    try:
        return await patiently(start)
    except (httpx.HTTPError, ObjectNotFound) as error:
        return _shortened(f"Prefect did not start a run of {DEPLOYMENT}: {error}")


async def _runs_with_ids(run_ids: Sequence[UUID]) -> list[FlowRun]:
    pages = _pages(run_ids)
    return await _read([FlowRunFilter(id=FlowRunFilterId(any_=list(page))) for page in pages])


async def _runs_with_keys(keys: Sequence[str]) -> list[FlowRun]:
    pages = _pages(keys)
    return await _read([FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=list(page))) for page in pages])


async def _read(filters: Sequence[FlowRunFilter]) -> list[FlowRun]:
    async with get_client() as client:
        return [run for one in filters for run in await client.read_flow_runs(flow_run_filter=one)]


def _pages(items: Sequence[Result]) -> list[Sequence[Result]]:
    return [items[first : first + PAGE] for first in range(0, len(items), PAGE)]


def _is_over(run: FlowRun, *, again: bool) -> bool:
    """True for a run that is to be repeated: one that ended badly or is being cancelled, or left something `again`."""
    if run.state is None or not (run.state.is_final() or run.state.is_cancelling()):
        return False
    return again or not run.state.is_completed()


def _patience_seconds() -> float:
    return current().settings.hold_hours * 3600


def _shortened(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON]
