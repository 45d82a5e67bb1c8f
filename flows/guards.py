"""What surrounds every flow: the batch's lease, its state when something breaks, one alert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import TerminationSignal
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger

from tasks.alert import deliver, send_alert
from tasks.batch import fail_batch, show_failed_batch
from tasks.resources import current
from visibility.batches import OpenBatch, kept_lease
from visibility.errors import LeaseLost, VisibilityError

LONGEST_REASON = 200  # characters

Result = TypeVar("Result")


class Problems:
    """What went wrong in one flow, each sentence once, for one alert at its end."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}

    def add(self, error: BaseException) -> None:
        """Remember an error as a sentence; the text of a foreign one may quote answers or keys and stays in the log."""
        unexpected = f"Unexpected {type(error).__name__}; the log of the flow run says more."
        self._sentences[str(error) if isinstance(error, VisibilityError) else unexpected] = None

    def __str__(self) -> str:
        return "\n".join(self._sentences)

    def __bool__(self) -> bool:
        return bool(self._sentences)

    async def tolerate(self, step: Awaitable[Result]) -> Result | None:
        """Await a step whose failure must not stop the others; remember what went wrong."""
        try:
            return await step
        except Exception as error:
            self.add(error)
            get_run_logger().error("%s", error if isinstance(error, VisibilityError) else repr(error))
            return None


@asynccontextmanager
async def alerting(subject: str) -> AsyncIterator[Problems]:
    """Send one alert when the body fails or has tolerated problems; cancellation and crash have hooks."""
    problems = Problems()
    try:
        yield problems
    except Exception as error:
        if not isinstance(error, LeaseLost):  # the flow that took over speaks for the batch
            problems.add(error)
            await send_alert(f"{subject} failed", str(problems))
        raise
    if problems:
        await send_alert(f"{subject} has problems", str(problems))


@asynccontextmanager
async def working_on(batch: OpenBatch) -> AsyncIterator[None]:
    """Keep the batch's lease while the body runs, then give it back; mark the batch failed when the body breaks."""
    resources = current()
    async with kept_lease(resources.database, batch.batch_id, batch.lease_owner, resources.settings.lease_seconds):
        try:
            yield
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to raise; a resume charges the rest
                await asyncio.shield(fail_batch(batch.batch_id, batch.lease_owner, reason_of(error)))
            if isinstance(error, Exception) and not isinstance(error, LeaseLost):
                with suppress(Exception):
                    await show_failed_batch(batch.batch_id)
            raise


def reason_of(error: BaseException) -> str:
    """Return what the batch's row says of an error; further lines of foreign errors quote rows and are left out."""
    if isinstance(error, VisibilityError):
        return str(error)
    if isinstance(error, asyncio.CancelledError | TerminationSignal | KeyboardInterrupt):
        return "The flow was cancelled or its process was told to stop. Run it again to do the rest."
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line[:LONGEST_REASON]}"


async def alert_on_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: the process died; may run in another process, so it only alerts."""
    await _alert_from_hook(flow, flow_run, "crashed", state)


async def alert_on_cancellation(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: somebody cancelled the run; may run in another process, so it only alerts."""
    await _alert_from_hook(flow, flow_run, "was cancelled", state)


async def _alert_from_hook(flow: Flow[..., Any], flow_run: FlowRun, happened: str, state: State[Any]) -> None:
    title = f"{flow.name} {flow_run.name} {happened}"
    await deliver(title, state.message or "no reason was given", flow_run_logger(flow_run, flow), flow_run.id)
