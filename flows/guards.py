"""What surrounds every flow: the batch's lease, its state when something breaks, one alert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger
from prefect.states import Completed, Failed

from tasks.alert import PATIENCE_SECONDS, deliver, send_alert
from tasks.batch import fail_batch, show_failed_batch
from tasks.money import claims_of, settle_claims
from tasks.patience import within
from tasks.resources import current
from visibility.batches import OpenBatch
from visibility.errors import LeaseLost, VisibilityError, sentence_of
from visibility.leases import kept_lease
from visibility.networks import OpenReading
from visibility.store.leases import HeldLease

LONGEST_REASON = 200  # characters
NAMED_SUBJECTS = 3  # of those that share a problem
WITH_PROBLEMS = "Completed with problems"  # name of the state

Result = TypeVar("Result")


class Problems:
    """What went wrong in one flow and in the flows inside it, each sentence once, for one alert at its end."""

    def __init__(self) -> None:
        self._sentences: dict[str, list[str]] = {}

    def add(self, error: BaseException) -> None:
        """Remember an error as a sentence."""
        self._sentences.setdefault(sentence_of(error), [])

    def take_over(self, subject: str, inner: Problems) -> None:
        """Remember the problems of a flow inside this one, which does not alert by itself, with whom they concern."""
        for sentence, concerned in inner._sentences.items():
            self._sentences.setdefault(sentence, []).extend(concerned or [subject])

    def told_with(self, result: Result) -> Result:
        """Return what a flow returns; with problems as a state that says them, to the UI and to who awaits the run."""
        if not self:
            return result
        return cast(Result, Completed(name=WITH_PROBLEMS, message=str(self), data=result))

    def __str__(self) -> str:
        return "\n".join(f"{sentence}{_named(subjects)}" for sentence, subjects in self._sentences.items())

    def __bool__(self) -> bool:
        return bool(self._sentences)

    async def tolerate(self, step: Awaitable[Result]) -> Result | None:
        """Await a step whose failure must not stop the others; remember what went wrong.

        Returns what the step had done before it failed where the error tells (`counts`), else None.
        """
        try:
            return await step
        except Exception as error:
            self.add(error)
            get_run_logger().error("%s", error if isinstance(error, VisibilityError) else repr(error))
            return getattr(error, "counts", None)


def _named(subjects: Sequence[str]) -> str:
    """Say whom a problem concerns: the first few, and how many more."""
    if not subjects:
        return ""
    more = f" and {len(subjects) - NAMED_SUBJECTS} more" if len(subjects) > NAMED_SUBJECTS else ""
    return f" ({', '.join(subjects[:NAMED_SUBJECTS])}{more})"


_outer: ContextVar[Problems | None] = ContextVar("problems of the outer flow", default=None)


@asynccontextmanager
async def alerting(subject: str) -> AsyncIterator[Problems]:
    """Send one alert when the body fails or has tolerated problems; cancellation and crash have hooks.

    A flow inside another one of this process leaves its problems to the outer one: fifty members, one alert. So does
    a flow in a process of its own that another one has started and waits for: its state says them.
    """
    problems, outer = Problems(), _outer.get()
    token = _outer.set(problems)
    try:
        yield problems
    except Exception as error:
        if not isinstance(error, LeaseLost):  # the flow that took over speaks for the batch
            problems.add(error)
            await _pass_on(outer, subject, "failed", problems)
        raise
    else:
        if problems:
            await _pass_on(outer, subject, "has problems", problems)
    finally:
        _outer.reset(token)


async def _pass_on(outer: Problems | None, subject: str, happened: str, problems: Problems) -> None:
    if outer is not None:
        outer.take_over(subject, problems)
    elif not await _is_awaited():
        await send_alert(f"{subject} {happened}", str(problems))


async def ended(flow: Awaitable[State[Result]]) -> State[Result]:
    """Await a flow inside this one; one that Prefect could not start or end has failed, and stops no other."""
    try:
        return await flow
    except Exception as error:
        get_run_logger().error("Prefect could not start or end a flow: %r", error)
        if (problems := _outer.get()) is not None:
            problems.add(error)
        return Failed(message=sentence_of(error), data=error)


async def _is_awaited() -> bool:
    """True for a flow run that another one has started, which still runs and will hear of its end."""
    context = FlowRunContext.get()
    task_run_id = context.flow_run.parent_task_run_id if context and context.flow_run else None
    if task_run_id is None:
        return False
    try:
        return await within(PATIENCE_SECONDS, _starter_runs(task_run_id))
    except Exception:  # an alert too many is better than none
        return False


async def _starter_runs(task_run_id: UUID) -> bool:
    async with get_client() as client:
        starter = (await client.read_task_run(task_run_id)).flow_run_id
        state = (await client.read_flow_run(starter)).state if starter else None
    return state is not None and not (state.is_final() or state.is_cancelling())


@asynccontextmanager
async def working_on(batch: OpenBatch) -> AsyncIterator[None]:
    """Keep the batch's lease while the body runs, then give it back; mark the batch failed when the body breaks."""

    async def give_up(error: BaseException) -> None:
        await fail_batch(batch, reason_of(error))
        if batch.scope == "org" and isinstance(error, Exception):
            await show_failed_batch(batch.batch_id)

    async with holding(batch.lease, give_up):
        yield


@asynccontextmanager
async def reading_for(reading: OpenReading) -> AsyncIterator[None]:
    """Keep the lease of an org's reading while the body runs; when it breaks, charge what is finished."""

    async def give_up(_error: BaseException) -> None:
        await settle_claims(reading.lease, claims_of(reading))

    async with holding(reading.lease, give_up):
        yield


@asynccontextmanager
async def holding(lease: HeldLease, give_up: Callable[[BaseException], Awaitable[None]]) -> AsyncIterator[None]:
    """Keep a lease while the body runs, then give it back; `give_up(error)` is called when the body breaks."""
    resources = current()
    async with kept_lease(resources.database, lease, resources.settings.lease_seconds):
        try:
            yield
        except BaseException as error:
            if not isinstance(error, LeaseLost):
                with suppress(Exception):  # the first error is the one to raise; a resume charges the rest
                    await asyncio.shield(give_up(error))
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
    if flow_run.parent_task_run_id is not None:
        return  # the flow that started it hears of its end, and alerts once for all that it started
    title = f"{flow.name} {flow_run.name} {happened}"
    await deliver(title, state.message or "no reason was given", flow_run_logger(flow_run, flow), flow_run.id)
