"""A report's figures as rows: one per figure and breakdown, and one per change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from visibility.metrics import CostFigure, Figure, OrgMetrics
from visibility.report.content import EVERYTHING, ModelsChange, Report, Slice

JOIN = " + "  # between the models whose answers are together in one figure
RATIO, USD = "ratio 0–1", "USD"
VALUE_UNITS = {
    "average_rank": "rank, 1 = named first",
    "sentiment_index": "index −1 to 1",
    "rank_weighted_visibility": "index 0 to 1",
}
CELLS = {
    "both": "named_and_cited",
    "named_only": "named_only",
    "cited_only": "cited_only",
    "neither": "neither_named_nor_cited",
}

SubjectKind = Literal["org", "network", "member"]


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of one breakdown; `value`, `low` and `high` in `value_unit`, `n` counts `unit`, coverage 0–1.

    `models` are those whose answers the figure is over, joined by ` + `. `reason` says why value or interval is None.
    """

    subject_kind: SubjectKind
    subject_id: str
    subject: str
    breakdown: str
    models: str
    run_date: date | None
    location: str | None
    question_id: str | None
    question: str | None
    tag: str | None
    figure: str
    value: float | None
    value_unit: str
    low: float | None
    high: float | None
    n: int
    unit: str
    coverage: float | None
    left_out: int
    reason: str | None
    simulated: bool


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A figure on two dates, `difference` with its 95 % interval; `verdict` is `change` or `within noise`."""

    subject_kind: SubjectKind
    subject_id: str
    subject: str
    models: str
    figure: str
    value_unit: str
    before_date: date
    after_date: date
    before: float | None
    before_n: int
    before_coverage: float | None
    after: float | None
    after_n: int
    after_coverage: float | None
    unit: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    reason: str | None
    simulated: bool


def figure_rows(report: Report) -> Iterator[FigureRow]:
    """Give all figures of the report: over everything, by breakdown, and for a network of every member."""
    owner = str(report.window.owner_id)
    for one in (Slice(EVERYTHING, report.models, report.overall), *report.slices):
        yield from _rows(report, report.window.scope, owner, report.owner_name, one)
    for member in report.members:
        for one in (Slice(EVERYTHING, report.models, member.overall), *member.by_model):
            yield from _rows(report, "member", str(member.org_id), member.name, one)


def change_rows(report: Report) -> Iterator[ChangeRow]:
    """Give every compared figure, over all models together and over each."""
    for compared in report.changes:
        yield _change_row(report, compared)


def value_unit(name: str) -> str:
    """Return the unit of a figure's value."""
    return VALUE_UNITS.get(name, RATIO)


def _rows(report: Report, kind: SubjectKind, subject_id: str, subject: str, one: Slice) -> Iterator[FigureRow]:
    blank = FigureRow(
        kind, subject_id, subject, one.breakdown, JOIN.join(one.models), one.run_date, one.location,
        one.question.question_id if one.question else None, one.question.text if one.question else None, one.tag,
        figure="", value=None, value_unit="", low=None, high=None, n=0, unit="", coverage=None, left_out=0,
        reason=None, simulated=report.window.sandbox,
    )  # fmt: skip
    for figure in (one.metrics.coverage, *one.metrics.figures()):
        yield _of_figure(blank, figure)
    yield from _of_cells(blank, one.metrics)
    if kind != "member":  # what the answers of a network cost is nobody's in particular
        yield _of_cost(blank, one.metrics.cost_per_usable_answer)
        yield _of_cost(blank, one.metrics.cost_per_mention)


def _of_figure(blank: FigureRow, figure: Figure) -> FigureRow:
    return replace(
        blank,
        figure=figure.name,
        value=figure.value,
        value_unit=value_unit(figure.name),
        low=figure.low,
        high=figure.high,
        n=figure.n,
        unit=figure.unit,
        coverage=figure.coverage,
        left_out=figure.left_out,
        reason=figure.reason or ("a count has no interval" if figure.name == "coverage" else None),
    )


def _of_cells(blank: FigureRow, metrics: OrgMetrics) -> Iterator[FigureRow]:
    cells, unit = metrics.cells, metrics.mention_rate.unit
    for cell, name in CELLS.items():
        yield replace(
            blank,
            figure=name,
            value=getattr(cells, cell) if cells.n else None,
            value_unit=unit,
            n=cells.n,
            unit=unit,
            coverage=cells.coverage,
            reason="a count has no interval" if cells.n else metrics.mention_rate.reason,
        )


def _of_cost(blank: FigureRow, cost: CostFigure) -> FigureRow:
    return replace(
        blank,
        figure=cost.name,
        value=None if cost.value is None else float(cost.value),
        value_unit=USD,
        n=cost.n,
        unit=cost.unit,
        coverage=cost.coverage,
        reason=cost.reason or "a price has no interval",
    )


def _change_row(report: Report, compared: ModelsChange) -> ChangeRow:
    change, window = compared.change, report.window
    return ChangeRow(
        window.scope, str(window.owner_id), report.owner_name, JOIN.join(compared.models),
        figure=change.after.name, value_unit=value_unit(change.after.name),
        before_date=change.before_date, after_date=change.after_date,
        before=change.before.value, before_n=change.before.n, before_coverage=change.before.coverage,
        after=change.after.value, after_n=change.after.n, after_coverage=change.after.coverage,
        unit=change.after.unit, difference=change.difference, low=change.low, high=change.high,
        verdict=change.verdict, reason=change.reason, simulated=window.sandbox,
    )  # fmt: skip
