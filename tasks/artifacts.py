"""What a person sees of an evaluation in the Prefect UI while it runs and after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.logging import get_run_logger

from tasks.patience import within
from visibility.display import as_markdown, headline, origin, result_rows
from visibility.network_display import (
    leaderboard_rows,
    network_as_markdown,
    network_headline,
    reading_as_markdown,
    reading_headline,
)
from visibility.network_summary import NetworkOrgSummary, NetworkSummary
from visibility.shard_display import org_rows, shard_as_markdown, shard_headline
from visibility.shard_summary import ShardSummary
from visibility.summary import OrgEvaluationSummary

PATIENCE_SECONDS = 10.0  # Prefect's client itself tries for a minute, call after call
UPDATE_SECONDS = 2.0  # a person looks no more often, and a thousand orgs would be a thousand requests

among_many: ContextVar[bool] = ContextVar("flow among many", default=False)
"""True in a flow of an org inside another flow, whose progress says how far all of them are."""


@dataclass
class Progress:
    """A progress artifact: how much of what is expected has been done; shown at most every two seconds."""

    artifact_id: UUID | None
    expected: int
    done: int = 0
    shown_at: float = 0.0

    @classmethod
    async def begin(cls, what: str, expected: int, *, sandbox: bool) -> Progress:
        """Create the artifact at 0 %."""
        progress = cls(None, expected)

        async def create() -> None:
            progress.artifact_id = await acreate_progress_artifact(0.0, description=f"{what}{origin(sandbox)}")

        if not among_many.get():
            await shown(create())
        return progress

    async def advance(self, number: int, described: Callable[[], str] | None = None) -> None:
        """Add what has been done; `described` tells how far it has come, in one line."""
        self.done += number
        if time.monotonic() - self.shown_at < UPDATE_SECONDS:
            return
        self.shown_at = time.monotonic()
        percent = min(100.0, 100 * self.done / self.expected) if self.expected else 100.0
        await self._show(percent, described() if described else None)

    async def finish(self, described: Callable[[], str] | None = None) -> None:
        """Show 100 %: nothing more will come, even where something is missing or an earlier flow did some."""
        await self._show(100.0, described() if described else None)

    async def _show(self, percent: float, description: str | None) -> None:
        """Update the artifact; one that Prefect did not take is not offered again."""
        if self.artifact_id is None:
            return
        if not await shown(aupdate_progress_artifact(self.artifact_id, percent, description)):
            self.artifact_id = None


async def publish_summary(summary: OrgEvaluationSummary) -> None:
    """Create the table of results per model and location, and the Markdown summary with coverage."""
    described = headline(summary)
    await shown(
        acreate_table_artifact(result_rows(summary), key="org-evaluation-results", description=described),
        acreate_markdown_artifact(as_markdown(summary), key="org-evaluation-summary", description=described),
    )


async def publish_network(summary: NetworkSummary) -> None:
    """Create the leaderboard of the members as a table, and the Markdown summary with coverage."""
    described = network_headline(summary)
    await shown(
        acreate_table_artifact(leaderboard_rows(summary), key="network-leaderboard", description=described),
        acreate_markdown_artifact(network_as_markdown(summary), key="network-questions-summary", description=described),
    )


async def publish_reading(summary: NetworkOrgSummary) -> None:
    """Create the Markdown summary of what one org's network answers say about it."""
    await shown(
        acreate_markdown_artifact(
            reading_as_markdown(summary), key="network-org-summary", description=reading_headline(summary)
        )
    )


async def publish_shard(summary: ShardSummary) -> None:
    """Create the table of a shard's orgs, those that failed first, and the Markdown summary."""
    described = shard_headline(summary)
    await shown(
        acreate_table_artifact(org_rows(summary), key="evaluate-orgs-results", description=described),
        acreate_markdown_artifact(shard_as_markdown(summary), key="evaluate-orgs-summary", description=described),
    )


async def shown(*drawings: Awaitable[object]) -> bool:
    """Wait for artifacts a while; log what Prefect does not take: a picture must neither fail nor hold up the work."""
    try:
        await within(PATIENCE_SECONDS, asyncio.gather(*drawings))
    except Exception as error:
        get_run_logger().warning("Prefect did not take an artifact: %s", type(error).__name__)
        return False
    return True
