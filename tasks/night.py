"""What a night's flow reads and shows: the schedule before and after, how far it has come, what it came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from tasks.artifacts import Progress, shown
from tasks.resources import current
from tasks.retries import is_retryable
from tasks.running import flow_run_id, seconds_running
from visibility.domain import check_run_date
from visibility.night import NightEnds, NightSummary, summarise_night
from visibility.night_display import night_as_markdown, night_headline, not_done_rows
from visibility.night_plan import SCOPES, NightOf, scheduled
from visibility.store.nights import count_ended
from visibility.store.schedules import Scheduled

LOOK_SECONDS = 10.0  # between two looks at how many are done


@dataclass(frozen=True, slots=True)
class Night:
    """A date, and who is scheduled on its weekday, as the night has found them."""

    what: NightOf
    run_date: date
    began_at: datetime
    scheduled: tuple[Scheduled, ...]

    @property
    def todo(self) -> list[Scheduled]:
        """Those that are not done, in their order."""
        return [owner for owner in self.scheduled if owner.state != "done"]

    @property
    def todo_ids(self) -> list[UUID]:
        """Their ids."""
        return [owner.owner_id for owner in self.todo]


@task(
    name="look at schedule", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)  # fmt: skip
async def look_at_schedule(what: NightOf, run_date: date | None) -> Night:
    """Find who is scheduled on the weekday of the date, by default that on which the flow run was to start (UTC).

    A run that waited for a worker until after midnight is still that of its day.

    Raises InvalidInput for a wrong date, and for a simulation in a database of real evaluations.
    """
    resources, now = current(), datetime.now(UTC)
    due = flow_run.scheduled_start_time or now
    day = check_run_date(run_date or due.astimezone(UTC).date(), now.date())
    found = await resources.database.run(scheduled, what, day, resources.settings)
    night = Night(what, day, now, tuple(found))
    get_run_logger().info("%s: %s of %s scheduled %s are to be done", day, len(night.todo), len(found), what)
    return night


@asynccontextmanager
async def showing_progress(night: Night) -> AsyncIterator[None]:
    """Show in a progress artifact how many of all that are scheduled are done, while the body does them."""
    sandbox = current().settings.sandbox
    progress = await Progress.begin(f"{night.what} done", len(night.scheduled), sandbox=sandbox)
    await progress.advance(len(night.scheduled) - len(night.todo))
    watching = asyncio.create_task(_watch(night, progress))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    await progress.finish()


async def _watch(night: Night, progress: Progress) -> None:
    scope, owners, before = SCOPES[night.what], night.todo_ids, 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(Exception):  # a picture of the work; the next look may succeed
            ended = await current().database.run(count_ended, scope, night.run_date, owners, night.began_at)
            await progress.advance(ended - before)
            before = ended


@task(
    name="close night", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def close_night(night: Night, ends: NightEnds) -> NightSummary:
    """Look at the schedule again, return what the night came to, and publish it as a page and a table of failures."""
    resources = current()
    summary = await resources.database.run(
        summarise_night,
        night.what,
        night.run_date,
        night.scheduled,
        ends,
        resources.settings,
        flow_run_id=flow_run_id(),
        duration_seconds=seconds_running(),
    )
    described = night_headline(summary)
    get_run_logger().info("%s", described)
    key = f"daily-{night.what}"
    await shown(acreate_markdown_artifact(night_as_markdown(summary), key=key, description=described))
    if summary.failed:
        await shown(acreate_table_artifact(not_done_rows(summary), key=f"{key}-not-done", description=described))
    return summary
