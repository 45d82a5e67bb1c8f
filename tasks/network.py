"""What a network's flows do beside asking and evaluating: find members and their missing work, sum up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.artifacts import publish_network, publish_reading
from tasks.resources import current
from tasks.retries import is_retryable
from tasks.running import flow_run_id, seconds_running
from visibility.billing.settlement import Settlement
from visibility.display import printable
from visibility.domain import EvaluationCounts, Member
from visibility.identity import new_owner
from visibility.network_summary import (
    Child,
    NetworkOrgSummary,
    NetworkSummary,
    summarise_network,
    summarise_reading,
)
from visibility.networks import OpenReading, first_day, open_reading
from visibility.store.networks import load_member, load_network

NOTHING_READ = EvaluationCounts(0, 0, 0, 0)


async def load_members(network_id: UUID) -> tuple[Member, ...]:
    """Return the orgs that are in the network now."""
    network = await current().database.run(load_network, network_id)
    return network.members


@task(
    name="find missing", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def find_missing(
    org_id: UUID, network_id: UUID | None, since: date | None, also: date | None, triggered_by: str
) -> OpenReading:
    """Take the org's reading of its network (waiting for a flow that has it), find what is not evaluated for it."""
    resources = current()
    logger = get_run_logger()
    org, network = await resources.database.run(load_member, org_id, network_id)
    reading = await open_reading(
        resources.database,
        org,
        network,
        first_day(org, since, datetime.now(UTC).date()),
        owner=new_owner(),
        lease_seconds=resources.settings.lease_seconds,
        flow_run_id=flow_run_id(),
        extractor_version=resources.extractor_version,
        sandbox=resources.settings.sandbox,
        also=also,
        on_wait=lambda holder: logger.info("waiting for the flow that is at work on this org"),
    )
    logger.info(
        "%s: %s answers of %s batches since %s are to be read (triggered by %s)",
        printable(org.name), reading.runs, len(reading.missing), reading.since, triggered_by,
    )  # fmt: skip
    return reading


@task(name="summarise", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
async def summarise(
    reading: OpenReading, counts: EvaluationCounts | None, settlement: Settlement | None
) -> NetworkOrgSummary:
    """Publish and return what this flow did for the org, and how the org stands since the first day."""
    resources = current()
    summary = await resources.database.run(
        summarise_reading,
        reading,
        resources.extractor_version,
        counts or NOTHING_READ,
        settlement,
        coverage_threshold=resources.settings.coverage_threshold,
        flow_run_id=flow_run_id(),
        sandbox=resources.settings.sandbox,
        duration_seconds=seconds_running(),
    )
    await publish_reading(summary)
    return summary


@task(
    name="publish standings",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def publish_standings(batch_id: UUID, children: Sequence[Child]) -> NetworkSummary:
    """Publish and return the network's summary."""
    resources = current()
    summary = await resources.database.run(
        summarise_network,
        batch_id,
        resources.extractor_version,
        children,
        failed_children_threshold=resources.settings.failed_children_threshold,
    )
    await publish_network(summary)
    return summary
