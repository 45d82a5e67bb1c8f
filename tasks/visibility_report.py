"""Make a visibility report: read it, write its files, keep them, show it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.artifacts import Progress, shown
from tasks.report_storage import reports_place
from tasks.resources import current
from tasks.retries import is_retryable
from tasks.running import flow_run_id
from visibility.report.folders import folder_of, unfinished
from visibility.report.summary import ReportSummary, read_report, summarise, write_page
from visibility.report_display import report_as_markdown, report_headline
from visibility.store.report_sums import ReportWindow

LOGGED_ORGS = 10  # one line for so many


@task(
    name="report visibility",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def report_visibility(
    scope: Literal["org", "network"], owner_id: UUID, since: date, until: date, output: Path | None
) -> ReportSummary:
    """Write page and exports of the window, keep them where reports are kept, publish link and figures.

    Raises InvalidInput for an unknown owner or a folder that cannot be written.
    """
    resources = current()
    window = ReportWindow(scope, owner_id, since, until, resources.settings.sandbox)
    place = await reports_place(resources.settings.data_folder, output)
    progress = await Progress.begin("organisations counted", 1, sandbox=window.sandbox)
    made_at = datetime.now(UTC).replace(microsecond=0)
    with unfinished(place.scratch) as folder:
        report, files = await resources.database.run(read_report, window, made_at, folder, _teller(progress))
        files.insert(0, await asyncio.to_thread(write_page, report, folder))
        stored = await place.keep(folder, folder_of(report.owner_name, window, made_at))
    summary = summarise(report, files, stored, flow_run_id())
    await progress.finish()
    await publish_report(summary)
    return summary


def _teller(progress: Progress) -> Callable[[int, int], None]:
    """Return what a worker thread tells of its progress, to the UI and to the log."""
    loop, logger = asyncio.get_running_loop(), get_run_logger()

    def told(done: int, of: int) -> None:
        progress.expected = of
        described = f"{done:,} of {of:,} organisations counted"
        asyncio.run_coroutine_threadsafe(progress.advance(1, lambda: described), loop)
        if done % LOGGED_ORGS == 0 or done == of:
            logger.info("%s", described)

    return told


async def publish_report(summary: ReportSummary) -> None:
    """Create the link to the page, and its figures as Markdown."""
    described = report_headline(summary)
    get_run_logger().info("%s", described)
    await shown(
        acreate_link_artifact(
            summary.link, f"{summary.owner_name}, {summary.since} to {summary.until}",
            key="visibility-report-page", description=described,
        ),
        acreate_markdown_artifact(report_as_markdown(summary), key="visibility-report", description=described),
    )  # fmt: skip
