"""What a shard's flow shows: how far its orgs have come while they are evaluated, and the result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import Progress, publish_shard
from tasks.resources import current
from tasks.running import flow_run_id, seconds_running
from visibility.shard_display import progress_line
from visibility.shard_summary import OrgEnd, ShardSummary, summarise_shard


class ShardProgress:
    """The progress artifact of a shard, and the ends of the orgs that are done."""

    def __init__(self, shown: Progress, orgs: int) -> None:
        self._shown, self._orgs = shown, orgs
        self.ends: list[OrgEnd] = []

    @classmethod
    async def begin(cls, orgs: int) -> ShardProgress:
        """Show the artifact at 0 %."""
        return cls(await Progress.begin("orgs evaluated", orgs, sandbox=current().settings.sandbox), orgs)

    async def add(self, end: OrgEnd) -> None:
        """Show one more org as done."""
        self.ends.append(end)
        await self._shown.advance(1, self._line)

    async def finish(self) -> None:
        """Show all as done."""
        await self._shown.finish(self._line)

    def _line(self) -> str:
        left = self._orgs - len(self.ends)
        seconds = seconds_running() / len(self.ends) * left if self.ends else 0.0
        expected_end = datetime.now(UTC) + timedelta(seconds=seconds) if left else None
        return progress_line(self.ends, self._orgs, expected_end, sandbox=current().settings.sandbox)


@task(name="publish shard", cache_policy=NO_CACHE)
async def summarise(ends: Sequence[OrgEnd], run_date: date) -> ShardSummary:
    """Publish and return what the shard came to."""
    settings = current().settings
    summary = summarise_shard(
        ends,
        run_date,
        sandbox=settings.sandbox,
        failed_orgs_threshold=settings.failed_children_threshold,
        flow_run_id=flow_run_id(),
        duration_seconds=seconds_running(),
    )
    await publish_shard(summary)
    return summary
