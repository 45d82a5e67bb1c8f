"""Which charts a report's page has, and what they say to those who do not see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from visibility.display import printable
from visibility.metrics import Figure, OrgMetrics
from visibility.report.charts import Point, in_bars, in_rows, over_time
from visibility.report.content import Report, Slice
from visibility.report.words import RATIOS, TITLES, interval, joined, label_of, written

SERIES = ("mention_rate", "share_of_voice_by_mentions", "sentiment_index")
WHOLE = {"sentiment_index": (-1.0, 1.0)}
DRAWN_ROWS = 40
BELOW = "The table beside it has the values, figures.csv all of them."


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG, and its title."""

    title: str
    svg: str


def series(report: Report, name: str) -> tuple[Chart, ...]:
    """Draw a figure over the dates, a panel per model; no chart with fewer than two dates or without a value."""
    by_model: dict[str, dict[date, Point]] = {}
    for one in report.by("date and model"):
        if one.run_date is not None:
            by_model.setdefault(one.models[0], {})[one.run_date] = _point(getattr(one.metrics, name))
    if len(report.dates) < 2 or not _known(point for points in by_model.values() for point in points.values()):
        return ()
    panels = {printable(model): points for model, points in by_model.items()}
    limits = WHOLE.get(name) or _limits(point for points in panels.values() for point in points.values())
    alt = f"{TITLES[name]} per date, one panel for each of {joined(list(panels))}: {_ends(panels, name)}. {BELOW}"
    drawn = over_time(f"series-{name}", alt, panels, percent=name in RATIOS, limits=limits)
    return (Chart(f"{TITLES[name]} by date", drawn),)


def coverage(report: Report) -> tuple[Chart, ...]:
    """Draw the coverage of all models together over the dates; no chart with fewer than two dates."""
    points = {one.run_date: Point(one.metrics.coverage.value) for one in report.by("date") if one.run_date}
    if len(points) < 2:
        return ()
    panels = {f"all models: {joined(report.models)}": points}
    alt = f"Coverage per date, all models together: {_ends(panels, 'coverage')}. {BELOW}"
    return (Chart("Coverage by date", over_time("coverage", alt, panels, percent=True, limits=(0, 1))),)


def rates(name: str, what: str, slices: Sequence[Slice]) -> tuple[Chart, ...]:
    """Draw the mention rate of every slice, at most forty; no chart for fewer than two."""
    return rates_of(name, what, [(label_of(one), one.metrics) for one in slices])


def rates_of(name: str, what: str, labelled: Sequence[tuple[str, OrgMetrics]]) -> tuple[Chart, ...]:
    """Draw the mention rates of labelled metrics, at most forty; no chart for fewer than two."""
    rows: dict[str, Figure] = {}
    for place, (label, metrics) in enumerate(labelled[:DRAWN_ROWS]):
        rows[_distinct(printable(label), rows, place)] = metrics.mention_rate
    points = {label: _point(figure) for label, figure in rows.items()}
    if len(points) < 2 or not _known(points.values()):
        return ()
    said = "; ".join(f"{label} {_said(figure)}" for label, figure in list(rows.items())[:5])
    more = f"; and {len(rows) - 5} more" if len(rows) > 5 else ""
    alt = f"Mention rate by {what} with 95 % intervals: {said}{more}. {BELOW}"
    drawn = in_rows(f"rates-{name}", alt, points, percent=True, limits=_limits(points.values()))
    return (Chart(f"Mention rate by {what}", drawn),)


def brands(report: Report) -> tuple[Chart, ...]:
    """Draw in what part of the evaluated answers each brand is named."""
    read = sum(report.named.read.values())
    rows = {printable(brand.name): brand.answers / read for brand in report.named.brands[:12]}
    return _bars("brands", "Evaluated answers that name the brand", rows, [])


def domains(report: Report) -> tuple[Chart, ...]:
    """Draw every domain's part of all citations; own sites are marked."""
    named = report.named
    shown = named.domains[:12]
    rows = {printable(one.domain): one.citations / named.citations for one in shown}
    return _bars("domains", "Part of all citations", rows, [printable(one.domain) for one in shown if one.own])


def _bars(name: str, what: str, rows: Mapping[str, float], marked: Sequence[str]) -> tuple[Chart, ...]:
    if not rows:
        return ()
    said = "; ".join(f"{label} {written('coverage', value)}" for label, value in list(rows.items())[:5])
    stars = " A star marks an own site." if marked else ""
    drawn = in_bars(name, f"{what}: {said}.{stars} {BELOW}", rows, marked, percent=True)
    return (Chart(f"{what}{', ★ own site' if marked else ''}", drawn),)


def _point(figure: Figure) -> Point:
    return Point(figure.value, figure.low, figure.high)


def _known(points: Iterable[Point]) -> bool:
    return any(point.value is not None for point in points)


def _limits(points: Iterable[Point]) -> tuple[float, float]:
    """Return 0 to 1, or to a fifth, a half where everything is small: a tenth of the height shows nothing."""
    ends = [end for point in points for end in (point.value, point.high) if end is not None]
    top = max(ends, default=1.0)
    return (0.0, next(limit for limit in (0.2, 0.5, 1.0) if top <= limit + 1e-9))


def _ends(panels: Mapping[str, Mapping[date, Point]], name: str) -> str:
    """Say how each series begins and ends."""
    said = []
    for label, points in panels.items():
        first, last = min(points), max(points)
        values = [written(name, points[day].value) for day in (first, last)]
        said.append(f"{label} from {values[0]} on {first} to {values[1]} on {last}")
    return "; ".join(said)


def _said(figure: Figure) -> str:
    between = interval(figure)
    return f"{written(figure.name, figure.value)} ({between})" if between else written(figure.name, figure.value)


def _distinct(label: str, taken: Mapping[str, object], place: int) -> str:
    return label if label not in taken else f"{label} ({place + 1})"
