"""A report's files, written from one snapshot of the database, and what the flow returns of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from visibility.changes import CHANGE
from visibility.metrics import Figure
from visibility.report.collect import Told, collect, see_one_moment
from visibility.report.content import Report
from visibility.report.exports import export
from visibility.report.folders import PAGE
from visibility.report.page import render
from visibility.report.words import TITLES, together
from visibility.store.report_sums import ReportWindow


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a report lies: a folder or `s3://…`, and the address under which a browser opens its page."""

    place: str
    link: str


class ReportSummary(BaseModel):
    """What a report is about, its figures over the whole window, and where its files lie; ratios 0–1, costs USD.

    `dates` counts those with a batch, `evaluated` of a network (answer, member) pairs; `changed` names the figures
    that differ between the last two dates by more than the noise. `other_origin` runs are left out.
    """

    model_config = ConfigDict(frozen=True)

    flow_run_id: UUID | None
    scope: Literal["org", "network"]
    owner_id: UUID
    owner_name: str
    since: date
    until: date
    made_at: datetime
    sandbox: bool
    other_origin: int
    dates: int
    models: list[str]
    extractor_versions: list[str]
    members: int
    expected: int
    answered: int
    evaluated: int
    failed: Mapping[str, int]
    figures: dict[str, Figure]
    changed: list[str]
    answers_cost_usd: Decimal
    reading_cost_usd: Decimal
    place: str
    link: str
    files: list[str]

    @property
    def reason(self) -> None:
        """A report that is there has not failed."""
        return


def read_report(
    session: Session, window: ReportWindow, made_at: datetime, folder: Path, told: Told = lambda done, of: None
) -> tuple[Report, list[str]]:
    """Read the report in one snapshot, and write its exports into the folder; return it with the files' names.

    Must begin the transaction. Raises InvalidInput for an unknown owner.
    """
    see_one_moment(session)
    report, readers = collect(session, window, made_at, told)
    return report, export(session, report, [reader.org_id for reader in readers], folder)


def write_page(report: Report, folder: Path) -> str:
    """Write the page into the folder; return the file's name."""
    (folder / PAGE).write_text(render(report), encoding="utf-8", newline="\n")
    return PAGE


def summarise(report: Report, files: Sequence[str], stored: Stored, flow_run_id: UUID | None) -> ReportSummary:
    """Return what is said of a report that lies where it belongs."""
    metrics, window = report.overall, report.window
    return ReportSummary(
        flow_run_id=flow_run_id,
        scope=window.scope,
        owner_id=window.owner_id,
        owner_name=report.owner_name,
        since=window.since,
        until=window.until,
        made_at=report.made_at,
        sandbox=window.sandbox,
        other_origin=report.other_origin,
        dates=len(report.dates),
        models=list(report.models),
        extractor_versions=list(report.versions),
        members=len(report.members),
        expected=metrics.expected,
        answered=metrics.answered,
        evaluated=metrics.evaluated,
        failed=report.failures,
        figures={figure.name: figure for figure in (metrics.coverage, *metrics.figures())},
        changed=_changed(report),
        answers_cost_usd=report.spent.answers_usd,
        reading_cost_usd=report.spent.reading_usd,
        place=stored.place,
        link=stored.link,
        files=list(files),
    )


def _changed(report: Report) -> list[str]:
    return [
        f"{TITLES[one.change.after.name]} ({together(one.models)}), {one.change.before_date} to {one.change.after_date}"
        for one in report.changes
        if one.change.verdict == CHANGE
    ]
