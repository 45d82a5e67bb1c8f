"""Open, start and complete a batch."""

from __future__ import annotations

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.artifacts import publish_summary
from tasks.resources import current, preload
from tasks.retries import is_retryable
from tasks.running import flow_run_id
from visibility.batches import OpenBatch
from visibility.batches import open_batch as open_stored_batch
from visibility.billing.settlement import settle_left
from visibility.domain import BatchKey, Network, Org
from visibility.identity import new_owner
from visibility.network_summary import complete_network
from visibility.store import batches as store
from visibility.store.batches import Opening
from visibility.store.leases import HeldLease, with_lease
from visibility.store.networks import load_network
from visibility.store.orgs import load_org
from visibility.summary import OrgEvaluationSummary, complete, fail, summarise_batch


@task(name="open batch", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def open_batch(key: BatchKey, triggered_by: str, user_id: str | None) -> OpenBatch:
    """Load the org or network, take its batch of the day (waiting for a flow that has it), write the manifest."""
    resources = current()
    logger = get_run_logger()
    opening = Opening(
        key=key,
        lease_owner=new_owner(),
        lease_seconds=resources.settings.lease_seconds,
        triggered_by=triggered_by,
        user_id=user_id,
        flow_run_id=flow_run_id(),
        sandbox=resources.settings.sandbox,
    )
    batch = await open_stored_batch(
        resources.database,
        await _load_asker(key),
        opening,
        extractor_version=resources.extractor_version,
        max_attempts=resources.settings.max_attempts,
        replicates=resources.settings.replicates,
        on_wait=lambda holder: logger.info("waiting for the flow that is at work on this batch"),
    )
    logger.info("batch %s of %s: %s", batch.batch_id, key.run_date, describe(batch))
    return batch


async def _load_asker(key: BatchKey) -> Org | Network:
    run = current().database.run
    if key.scope == "network":
        return await run(load_network, key.owner_id)
    return await run(load_org, key.owner_id)


def describe(batch: OpenBatch) -> str:
    """Say in one line what the batch holds and what is left to do."""
    counts = batch.progress
    return (
        f"{counts.expected} expected answers, {counts.answered} there, {counts.unevaluated} of them to be read, "
        f"{counts.open + counts.failed_retryable} to be asked"
    )


@task(name="start", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def start_batch(lease: HeldLease) -> None:
    """Set the batch running, also when a failed one is resumed."""
    preload()
    await current().database.run(store.start, lease)


@task(name="complete", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def complete_batch(lease: HeldLease) -> OrgEvaluationSummary:
    """Set an org's batch completed or failed by its coverage, publish and return the summary."""
    resources = current()
    threshold = resources.settings.coverage_threshold
    summary = await resources.database.run(complete, lease, resources.extractor_version, coverage_threshold=threshold)
    await publish_summary(summary)
    return summary


@task(name="complete", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def complete_asking(lease: HeldLease) -> None:
    """Set a network's batch completed or failed by how many of its questions were answered."""
    resources = current()
    threshold = resources.settings.coverage_threshold
    await resources.database.run(complete_network, lease, resources.extractor_version, coverage_threshold=threshold)


async def fail_batch(batch: OpenBatch, reason: str) -> None:
    """Mark the batch failed with its reason; charge what is finished and close its holds. Raises LeaseLost."""
    resources = current()
    threshold = resources.settings.coverage_threshold
    await resources.database.run(
        fail, batch.lease, resources.extractor_version, reason=reason, coverage_threshold=threshold
    )
    await resources.database.run(with_lease, batch.lease, settle_left, batch.batch_id)


async def show_failed_batch(batch_id: UUID) -> None:
    """Publish the summary of an org's batch that a flow could not complete."""
    resources = current()
    await publish_summary(await resources.database.run(summarise_batch, batch_id, resources.extractor_version))
