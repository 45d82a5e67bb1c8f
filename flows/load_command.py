"""The command behind `python -m flows.load_report`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from flows.command_line import AsJson, next_steps, refusing, run_command, run_flow, show
from flows.preparation import EVERYBODY, Subject, Vendors, prepare

if TYPE_CHECKING:
    from visibility.load_report import LoadReport

NOBODY_IS_ASKED = Vendors(sandbox=False, time_scale=1, sandbox_url=None)


def load_report_command() -> NoReturn:
    """Entry point of `python -m flows.load_report`."""
    run_command(report_load_of_the_week, "python -m flows.load_report")


def report_load_of_the_week(as_json: AsJson = False) -> None:
    """Show what each weekday asks and costs by its schedules, and which schedules to move where days differ too much.

    Changes nothing, asks nobody, needs no vendor's key.

    Exit status: 0 the report is there, also when nothing is scheduled; 1 it failed (the reason is printed); 2 a
    setting is wrong; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        job = prepare(lambda session: Subject(EVERYBODY, {}), NOBODY_IS_ASKED, work="looks")
    report = run_flow(job, _flow, as_json)
    show(report, partial(_page, job.api_url), as_json)


def _flow() -> Callable[[], Awaitable[LoadReport]]:
    from flows.load_report import load_report

    return load_report


def _page(api_url: str, report: LoadReport) -> None:
    from visibility.load_display import print_load_report

    print_load_report(report, next_steps(report.flow_run_id, api_url, {}))
