"""Open, start and complete a batch."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from tasks.artifacts import publish_summary
from tasks.resources import current
from tasks.retries import is_retryable
from visibility.batches import OpenBatch, open_org_batch
from visibility.billing.settlement import settle
from visibility.domain import BatchKey
from visibility.identity import new_owner
from visibility.store import batches as store
from visibility.store.batches import Opening
from visibility.store.orgs import load_org
from visibility.summary import OrgEvaluationSummary, complete, fail, summarise_batch


@task(name="open batch", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def open_batch(org_id: UUID, triggered_by: str, user_id: str | None, run_date: date) -> OpenBatch:
    """Load the org, take its batch of the day (waiting for a flow that has it), write the manifest."""
    resources = current()
    logger = get_run_logger()
    org = await resources.database.run(load_org, org_id)
    opening = Opening(
        key=BatchKey("org", org_id, run_date),
        lease_owner=new_owner(),
        lease_seconds=resources.settings.lease_seconds,
        triggered_by=triggered_by,
        user_id=user_id,
        flow_run_id=UUID(flow_run.id) if flow_run.id else None,
        sandbox=resources.settings.sandbox,
    )
    batch = await open_org_batch(
        resources.database,
        org,
        opening,
        extractor_version=resources.extractor_version,
        max_attempts=resources.settings.max_attempts,
        replicates=resources.settings.replicates,
        on_wait=lambda holder: logger.info("waiting for the flow that is at work on this batch"),
    )
    logger.info("batch %s of %s: %s", batch.batch_id, run_date, describe(batch))
    return batch


def describe(batch: OpenBatch) -> str:
    """Say in one line what the batch holds and what is left to do."""
    counts = batch.progress
    return (
        f"{counts.expected} expected answers, {counts.answered} there, {counts.unevaluated} of them to be read, "
        f"{counts.open + counts.failed_retryable} to be asked"
    )


@task(name="start", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def start_batch(batch_id: UUID, lease_owner: str) -> None:
    """Set the batch running, also when a failed one is resumed."""
    await current().database.run(store.start, batch_id, lease_owner)


@task(name="complete", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def complete_batch(batch_id: UUID, lease_owner: str) -> OrgEvaluationSummary:
    """Set the batch completed or failed by its coverage, publish and return the summary."""
    resources = current()
    summary = await resources.database.run(
        complete,
        batch_id,
        resources.extractor_version,
        coverage_threshold=resources.settings.coverage_threshold,
        lease_owner=lease_owner,
    )
    await publish_summary(summary)
    return summary


async def fail_batch(batch_id: UUID, lease_owner: str, reason: str) -> None:
    """Mark the batch failed with its reason; charge the half that is finished. Raises LeaseLost."""
    resources = current()
    await resources.database.run(
        fail,
        batch_id,
        resources.extractor_version,
        reason=reason,
        coverage_threshold=resources.settings.coverage_threshold,
        lease_owner=lease_owner,
    )
    await resources.database.run(store.with_lease, batch_id, lease_owner, settle)


async def show_failed_batch(batch_id: UUID) -> None:
    """Publish the summary of a batch that a flow could not complete."""
    resources = current()
    await publish_summary(await resources.database.run(summarise_batch, batch_id, resources.extractor_version))
