"""Report on what assistants have said about an organisation, or a network's members, in a window of dates.

Deployed as `visibility-report`; locally `python -m flows.visibility_report --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.report_command import visibility_report_command

    visibility_report_command()

from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.runtime import flow_run

from flows.guards import alert_on_cancellation, alert_on_crash, alerting
from tasks import resources
from tasks.visibility_report import report_visibility
from visibility.report.summary import ReportSummary
from visibility.report.window import report_window


def _run_name() -> str:
    given = flow_run.parameters
    return f"report on {given.get('org_id') or given.get('network_id')}"


@flow(
    name="visibility-report",
    flow_run_name=_run_name,
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def visibility_report(
    org_id: UUID | None = None,
    network_id: UUID | None = None,
    since: date | None = None,
    until: date | None = None,
    output: Path | None = None,
) -> ReportSummary:
    """Write a page with charts and the same numbers as CSV and Parquet; by default of the last 30 days.

    Changes nothing and needs no vendor's key. A window without answers is a report that says so. `output` is a folder;
    without it reports go to the bucket of Prefect's results where that is S3, else to the data folder. Raises
    InvalidInput unless exactly one owner is named, for an unknown one, and for a window that ends before it begins.
    """
    today = datetime.now(UTC).date()
    async with alerting(f"report on {org_id or network_id}"), resources.opened(reads=False) as opened:
        window = report_window(org_id, network_id, since, until, today=today, sandbox=opened.settings.sandbox)
        return await report_visibility(window.scope, window.owner_id, window.since, window.until, output)
