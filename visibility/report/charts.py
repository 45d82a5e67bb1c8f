"""A report's charts as SVG to be put into a page: the same numbers give the same bytes, texts stay texts.

matplotlib is imported on first use, and used without its global state, but for the settings while it draws.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from io import StringIO
from itertools import pairwise
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from visibility.display import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WIDTH = 5.4  # inches at 72 points: a phone shows it without shrinking the letters much
LINE, TWO_LINES = 0.27, 0.4  # inches for one row of a chart of rows
LONGEST_LINE = 28  # characters of a label, which has two lines at most
INK, MUTED, GRID = "#1c2733", "#5b6875", "#dde3e9"
COLOURS = ("#1f5fa8", "#b3540b", "#2f7d4f", "#7b4fa3", "#a3324f", "#4d6a0e", "#00707a", "#6b4a2b")
MANY_DATES = 45  # from here on a band instead of a whisker per date
SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
}
_drawing = threading.Lock()  # matplotlib's settings are those of the process


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


def over_time(
    name: str, alt: str, series: Mapping[str, Mapping[date, Point]], *, percent: bool, limits: tuple[float, float]
) -> str:
    """Draw one panel per series over the same dates. A date without a value, or a longer pause, breaks the line."""
    dates = sorted({day for points in series.values() for day in points})
    with _canvas(name, 0.5 + 1.25 * len(series)) as (drawing, finish):
        panels = drawing.subplots(len(series), sharex=True, squeeze=False)[:, 0]
        for panel, (label, points), colour in zip(panels, series.items(), _colours(len(series)), strict=True):
            _draw_series(panel, points, dates, colour)
            panel.set_title(printable(label), loc="left", fontsize=8.5, color=colour, fontweight="bold", pad=4)
            _scale(panel.yaxis, panel.set_ylim, limits, percent)
        _date_axis(panels[-1], dates)
        return finish(alt)


def in_rows(name: str, alt: str, rows: Mapping[str, Point], *, percent: bool, limits: tuple[float, float]) -> str:
    """Draw one row per entry, the first on top: a point with its interval; a row without a value says so."""
    labels = [_folded(label) for label in rows]
    with _canvas(name, _height(labels)) as (drawing, finish):
        panel = drawing.subplots()
        for place, point in enumerate(rows.values()):
            _draw_point(panel, place, point)
        _label_rows(panel, labels)
        _scale(panel.xaxis, panel.set_xlim, limits, percent)
        return finish(alt)


def in_bars(name: str, alt: str, rows: Mapping[str, float], marked: Sequence[str], *, percent: bool) -> str:
    """Draw one bar per entry, the first on top; those of `marked` in another colour, and with a star."""
    labels = [_folded(f"{label} ★" if label in marked else label) for label in rows]
    with _canvas(name, _height(labels)) as (drawing, finish):
        panel = drawing.subplots()
        colours = [COLOURS[1] if label in marked else COLOURS[0] for label in rows]
        panel.barh(range(len(rows)), list(rows.values()), color=colours, height=0.62)
        _label_rows(panel, labels)
        _scale(panel.xaxis, panel.set_xlim, (0, max([*rows.values(), 0.01]) * 1.05), percent)
        return finish(alt)


def _draw_series(panel: Any, points: Mapping[date, Point], dates: Sequence[date], colour: str) -> None:
    days, values, lows, highs = _with_gaps(points)
    panel.plot(days, values, color=colour, linewidth=1.4, marker="o", markersize=3 if len(dates) < MANY_DATES else 1.5)
    known = [(day, low, high) for day, low, high in zip(days, lows, highs, strict=True) if low == low]
    if len(dates) < MANY_DATES:
        panel.vlines([day for day, _, _ in known], [low for _, low, _ in known], [high for *_, high in known],
                     color=colour, linewidth=1, alpha=0.55)  # fmt: skip
    else:
        panel.fill_between(days, lows, highs, color=colour, alpha=0.18, linewidth=0)


def _with_gaps(points: Mapping[date, Point]) -> tuple[list[date], list[float], list[float], list[float]]:
    """Return dates, values, lows and highs, with NaN where a value is missing or a date was left out."""
    nothing = Point(None)
    days: list[date] = sorted(points)
    steps = [(after - before).days for before, after in pairwise(days)]
    usual = median(steps) if steps else 1
    filled = {day: points[day] for day in days}
    for day, step in zip(days, steps, strict=False):
        if step > 1.5 * usual:
            filled[day + timedelta(days=1)] = nothing
    ordered = sorted(filled)
    numbers = [[_number(getattr(filled[day], end)) for day in ordered] for end in ("value", "low", "high")]
    return ordered, numbers[0], numbers[1], numbers[2]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _date_axis(panel: Axes, dates: Sequence[date]) -> None:
    """Mark at most six of the dates, the last one among them."""
    step = -(-len(dates) // 6)
    shown = dates[::-1][::step][::-1]
    panel.set_xticks(shown, [f"{day:%d %b}" for day in shown])  # type: ignore[arg-type]  # dates are taken
    pad = timedelta(days=max(1, (dates[-1] - dates[0]).days // 40))
    panel.set_xlim(dates[0] - pad, dates[-1] + pad)  # type: ignore[arg-type]
    panel.set_xlabel(f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else str(dates[0]))


def _draw_point(panel: Axes, place: int, point: Point) -> None:
    if point.value is None:
        panel.text(0.01, place, "no value", transform=panel.get_yaxis_transform(), va="center", color=MUTED)
        return
    if point.low is not None and point.high is not None:
        panel.hlines(place, point.low, point.high, color=COLOURS[0], linewidth=2.2, alpha=0.45)
    panel.plot([point.value], [place], marker="o", markersize=5, color=COLOURS[0])


def _label_rows(panel: Axes, labels: Sequence[str]) -> None:
    panel.set_yticks(range(len(labels)), labels)
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.grid(axis="y", visible=False)


def _folded(label: str) -> str:
    return "\n".join(wrap(printable(label), LONGEST_LINE, max_lines=2, placeholder=" …")) or printable(label)


def _height(labels: Sequence[str]) -> float:
    """Return inches for rows with these labels and an axis."""
    return 0.45 + sum(TWO_LINES if "\n" in label else LINE for label in labels)


def _scale(axis: Any, set_limits: Callable[..., object], limits: tuple[float, float], percent: bool) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    low, high = limits
    set_limits(low - (high - low) * 0.02, high + (high - low) * 0.02)
    axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    if percent:
        axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def _colours(number: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(number)]


@contextmanager
def _canvas(name: str, height: float) -> Iterator[tuple[Drawing, Callable[[str], str]]]:
    """Give an empty drawing, and what turns it into SVG with a text for those who do not see it."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with _drawing, rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser draws the letters
        drawing = Figure(figsize=(WIDTH, height), layout="constrained")
        yield drawing, lambda alt: _as_svg(drawing, name, alt)


def _as_svg(drawing: Drawing, name: str, alt: str) -> str:
    written = StringIO()
    drawing.savefig(
        written, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # ids would be there once per chart
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)  # letters are those of the page
    view = re.search(r'viewBox="[^"]*"', svg)
    begin = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" {view[0] if view else ""}'
    )
    title = f' role="img" aria-labelledby="chart-{name}"><title id="chart-{name}">{escape(printable(alt))}</title>'
    return begin + title + svg[svg.index(">") + 1 :].strip()
