"""Find what flows that died have left; fetch, charge and give back what needs no flow of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.artifacts import shown
from tasks.resources import current
from tasks.retries import is_retryable
from tasks.running import flow_run_id, seconds_running
from visibility.errors import VisibilityError, sentence_of
from visibility.providers.brightdata.job import Ending, JobOutcome
from visibility.reconcile import (
    Action,
    LeftWork,
    ReconcileSummary,
    batch_action,
    holds_action,
    job_action,
    look,
    owed_action,
    summarise_reconcile,
)
from visibility.reconcile_display import action_rows, reconcile_headline
from visibility.store import reconcile as store
from visibility.store.reconcile import LeftBatch, LeftJob, LeftReading, Owed, Window

ENDINGS: dict[Ending, str] = {
    "returned": "fetched",
    "failed": "the vendor brings nothing for it",
    "postponed": "the vendor does not tell; tried again in the next hour",
    "released": "the vendor never accepted it; its questions are asked by the next run of the batch",
}


@task(
    name="find left work",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def find_left_work() -> LeftWork:
    """Find everything that no live flow works on; changes nothing."""
    resources = current()
    since = datetime.now(UTC) - timedelta(days=resources.settings.reconcile_days)
    left = await resources.database.run(look, since, sandbox=resources.settings.sandbox)
    get_run_logger().info("%s things were left since %s", len(left.actions), since.isoformat(timespec="minutes"))
    return left


@task(
    name="adopt vendor jobs",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def adopt_jobs(jobs: Sequence[LeftJob]) -> tuple[list[Action], set[UUID]]:
    """See open jobs through and store what they bring; with it the batches that got answers."""
    collector = current().collector
    ends = await asyncio.gather(*(collector.see_through(job.job_id) for job in jobs), return_exceptions=True)
    actions = [_adopted(job, end) for job, end in zip(jobs, ends, strict=True)]
    answered = {batch_id for end in ends if isinstance(end, JobOutcome) for batch_id, _ in end.answered}
    return actions, answered


def _adopted(job: LeftJob, end: JobOutcome | BaseException) -> Action:
    action = job_action(job)
    if isinstance(end, BaseException):
        return action.not_done(sentence(end))
    if end.ended == "postponed":
        return action.not_done(ENDINGS[end.ended])
    return action.done(ENDINGS[end.ended], sum(map(len, end.answered.values())))


def sentence(error: BaseException) -> str:
    """Say what went wrong; what the sentence leaves out of a foreign error is logged."""
    if not isinstance(error, VisibilityError):
        get_run_logger().error("%r", error)
    return sentence_of(error)


async def find_idle_batches(window: Window, batch_ids: Collection[UUID]) -> list[LeftBatch]:
    """Return those of the batches that no live flow works on."""
    return await current().database.run(store.find_idle, window, batch_ids) if batch_ids else []


async def find_left_readings(window: Window) -> list[LeftReading]:
    """Return the members for which nobody goes on reading."""
    return await current().database.run(store.find_readings, window)


@task(
    name="settle what is owed",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def settle_owed(window: Window) -> list[Action]:
    """Charge what is evaluated and uncharged, each (batch, org) in a transaction of its own."""
    owed = await current().database.run(store.find_owed, window)
    return [action for one in owed if (action := await _settled(one, window)) is not None]


async def _settled(owed: Owed, window: Window) -> Action | None:
    """Settle one; None where a flow is at work by now, which settles itself."""
    action = owed_action(owed)
    try:
        settlement = await current().database.run(store.settle_idle, owed, window.dead)
    except Exception as error:
        return action.not_done(sentence(error))
    if settlement is None:
        return None
    return action.done("charged", settlement.entries, settlement.charged_usd)


@task(
    name="release holds",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def release_holds(window: Window) -> list[Action]:
    """Give expired holds back, and close the batches of orgs and networks that were deleted."""
    run = current().database.run
    closed = [batch_action("close", batch).done("deleted") for batch in await run(store.close_deleted, window)]
    freed = await run(store.release_holds)
    return closed + [holds_action(holds).done("expired", holds.holds, holds.amount_usd) for holds in freed]


async def summarise(window: Window, actions: Sequence[Action], *, dry_run: bool) -> ReconcileSummary:
    """Return what was done, published as one table where something was."""
    summary = summarise_reconcile(
        window,
        actions,
        dry_run=dry_run,
        flow_run_id=flow_run_id(),
        duration_seconds=seconds_running(),
    )
    get_run_logger().info("%s", reconcile_headline(summary))
    if actions and not dry_run:
        await shown(
            acreate_table_artifact(action_rows(summary), key="reconcile", description=reconcile_headline(summary))
        )
    return summary
