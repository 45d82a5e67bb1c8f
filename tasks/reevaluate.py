"""Find, read again and compare what older extractor versions have read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.artifacts import shown
from tasks.evaluate import read_answers
from tasks.names import load_profile
from tasks.resources import current
from tasks.retries import is_retryable
from tasks.running import flow_run_id
from visibility import reevaluation
from visibility.arrivals import total
from visibility.domain import EvaluationCounts
from visibility.reevaluation import (
    ReevaluationSummary,
    Replay,
    reading_lease,
    replay_answers,
    summarise_replay,
    window_of,
)
from visibility.reevaluation_display import headline, reevaluation_as_markdown
from visibility.store.orgs import load_org
from visibility.store.reevaluation import Window, find_outdated


@task(
    name="find evaluations",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def open_replay(
    scope: Literal["org", "network"], owner_id: UUID, since: date | None, until: date | None
) -> Replay:
    """Find what older versions have read of an org's or a network's answers. Raises InvalidInput."""
    resources = current()
    window = window_of(
        scope,
        owner_id,
        since,
        until,
        today=datetime.now(UTC).date(),
        sandbox=resources.settings.sandbox,
        version=resources.extractor_version,
    )
    replay = await resources.database.run(reevaluation.open_replay, window)
    get_run_logger().info(
        "%s evaluations of %s orgs from %s to %s are to be read again, %s are at version %s",
        replay.found, len(replay.orgs), window.since, window.until, replay.current, window.version,
    )  # fmt: skip
    return replay


@task(
    name="re-evaluate",
    task_run_name="re-evaluate {org_id}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def reevaluate_org(window: Window, org_id: UUID) -> EvaluationCounts:
    """Read again, all at once, what only older versions have read for the org; nobody else reads for it meanwhile.

    Every answer switches to the new findings in one transaction; a failed one keeps the old. No credit is held or
    charged. When the LLM refuses the account, what is finished is stored and ProviderRefused is raised.
    """
    resources = current()
    logger = get_run_logger()
    org = await resources.database.run(load_org, org_id)
    lease = reading_lease(
        resources.database,
        org_id,
        window.network_id,
        seconds=resources.settings.lease_seconds,
        flow_run_id=flow_run_id(),
        on_wait=lambda holder: logger.info("waiting for the flow that reads for %s", org.name),
    )
    async with lease:
        outdated = await resources.database.run(find_outdated, window, org_id)
        if not outdated:
            return total([])
        profile = await load_profile(org, outdated[-1].batch_id)
        shared = window.network_id is not None
        return await replay_answers(
            outdated, lambda batch: read_answers(batch.batch_id, profile, batch.run_ids, shared=shared)
        )


@task(
    name="compare versions",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def compare_versions(replay: Replay, failed: dict[str, int], duration_seconds: float) -> ReevaluationSummary:
    """Compare old findings with new ones; publish and return the summary."""
    resources = current()
    summary = await resources.database.run(
        summarise_replay,
        replay,
        failed,
        coverage_threshold=resources.settings.coverage_threshold,
        flow_run_id=flow_run_id(),
        duration_seconds=duration_seconds,
    )
    get_run_logger().info("%s", headline(summary))
    await shown(
        acreate_markdown_artifact(
            reevaluation_as_markdown(summary), key=f"{summary.scope}-reevaluation", description=headline(summary)
        )
    )
    return summary
