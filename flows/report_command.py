"""The command behind `python -m flows.visibility_report`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias
from uuid import UUID

import typer

from flows.command_line import AsJson, day_option, next_steps, refusing, run_command, run_flow, show
from flows.preparation import Job, Subject, Vendors, prepare
from visibility.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.report.summary import ReportSummary

NOBODY_IS_ASKED = Vendors(sandbox=False, time_scale=1, sandbox_url=None)

Since: TypeAlias = Annotated[
    date | None, day_option("First UTC date of the window; by default 29 days before the last.")
]
Until: TypeAlias = Annotated[date | None, day_option("Last UTC date of the window; by default today.")]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of reports; by default the bucket of Prefect's results, else the data folder's reports."),
]
Simulated: TypeAlias = Annotated[
    bool, typer.Option("--sandbox", help="Report on simulated answers instead of real ones; the report says so.")
]


def visibility_report_command() -> NoReturn:
    """Entry point of `python -m flows.visibility_report`."""
    run_command(report_on_visibility, "python -m flows.visibility_report")


def report_on_visibility(
    org_id: Annotated[UUID | None, typer.Option(help="The org whose own questions the report is about.")] = None,
    network_id: Annotated[UUID | None, typer.Option(help="The network whose questions the report is about.")] = None,
    since: Since = None,
    until: Until = None,
    output: Output = None,
    sandbox: Simulated = False,
    as_json: AsJson = False,
) -> None:
    """Report on what assistants have said in a window of dates: a page with charts, and its numbers as CSV and Parquet.

    Changes nothing, asks nobody, needs no vendor's key.

    Exit status: 0 the report is there, also of a window without answers; 1 it failed (the reason is printed); 2 the
    input or a setting is wrong; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        _check(org_id, network_id, since, until, output)
        job = prepare(partial(_find, org_id, network_id), NOBODY_IS_ASKED, work="looks")
        job = replace(job, settings=job.settings.for_sandbox("", 1)) if sandbox else job
    report = run_flow(job, partial(_flow, job, org_id is not None, since, until, output), as_json)
    show(report, partial(_page, job.api_url), as_json)


def _check(
    org_id: UUID | None, network_id: UUID | None, since: date | None, until: date | None, output: Path | None
) -> None:
    """Refuse what can be known to be wrong before a database is asked."""
    from visibility.report.folders import check_writable
    from visibility.report.window import report_window

    if org_id is None and network_id is None:
        raise InvalidInput("Name the organisation or the network: --org-id UUID or --network-id UUID.")
    if org_id is not None and network_id is not None:
        raise InvalidInput("A report is about one owner: --org-id or --network-id, not both.")
    report_window(org_id, network_id, since, until, today=datetime.now(UTC).date(), sandbox=False)
    if output is not None:
        check_writable(output)


def _find(org_id: UUID | None, network_id: UUID | None, session: Session) -> Subject:
    """Find the owner; nobody is asked, so that a sandbox is told nothing."""
    from visibility.store.networks import load_network
    from visibility.store.orgs import load_org

    if org_id is not None:
        return Subject(load_org(session, org_id).org_id, {})
    assert network_id is not None
    return Subject(load_network(session, network_id).network_id, {})


def _flow(
    job: Job, is_org: bool, since: date | None, until: date | None, output: Path | None
) -> Callable[[], Awaitable[ReportSummary]]:
    from flows.visibility_report import visibility_report

    owner = {"org_id" if is_org else "network_id": job.subject_id}
    return lambda: visibility_report(**owner, since=since, until=until, output=output)


def _page(api_url: str, report: ReportSummary) -> None:
    from visibility.report_display import print_report

    print_report(report, next_steps(report.flow_run_id, api_url, {}))
