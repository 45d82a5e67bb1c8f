"""Whether a figure has changed between two dates, or only moved within the noise.

A change is called so only where the 95 % interval of the difference leaves out 0, both dates have a coverage of at
least 0.8, and the same extractor version has read answers to the same questions, models and locations. An interval
over questions takes six of them: of fewer, all may well go the same way by chance (of five in one case of sixteen),
and then it leaves out 0 however small n is. numpy is imported on first use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from visibility.intervals import Interval, bootstrap_differences, wilson_difference
from visibility.metrics import FIGURES, ONE_QUESTION, RATES, Figure, metrics_of_sums, tops_and_bottoms
from visibility.sums import SUMS, SumRows, rows_of_sums

if TYPE_CHECKING:
    import pandas as pd

ENOUGH_COVERAGE = 0.8
ENOUGH_QUESTIONS = 6  # 2 × 0.5⁶ = 3 % is the first that is below 5 %
CHANGE, NOISE = "change", "within noise"
NO_DIFFERENCE = "the interval of the difference includes 0"
FEW_QUESTIONS = f"fewer than {ENOUGH_QUESTIONS} questions have it on both dates"


@dataclass(frozen=True, slots=True)
class Change:
    """A figure on two dates; `low` and `high` bound the difference, `verdict` is `change` or `within noise`.

    `reason` says why it is no change.
    """

    before_date: date
    after_date: date
    before: Figure
    after: Figure
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    reason: str | None


def changes(frame: pd.DataFrame, before_date: date, after_date: date, *, pairs: bool = False) -> list[Change]:
    """Compare the figures of two dates of a frame of sums, which has `run_date`, `versions`, `model` and `location`.

    `pairs` as in `metrics_of_sums`: rates are then compared over questions too.
    """
    two = frame[frame["run_date"].isin([before_date, after_date])]
    rows, dates = rows_of_sums(two), two["run_date"].to_numpy()
    sides = [two[dates == day] for day in (before_date, after_date)]
    before, after = ({figure.name: figure for figure in _figures(side, pairs)} for side in sides)
    intervals = _intervals([rows.at(dates == day) for day in (before_date, after_date)], pairs)
    unlike = _unlike(*sides)
    return [
        _change(before_date, after_date, before[name], after[name], interval, unlike or few)
        for name, interval, few in intervals
    ]


def _figures(side: pd.DataFrame, pairs: bool) -> Sequence[Figure]:
    return metrics_of_sums(side, pairs=pairs).figures()


def _intervals(sides: Sequence[SumRows], pairs: bool) -> Iterator[tuple[str, Interval | None, str | None]]:
    """Give every figure's name, the interval of its difference, and what is wrong with it, in the order of figures."""
    import numpy as np

    questions = np.union1d(*(side.read_questions() for side in sides))
    sums = [side.by_question(questions) for side in sides]
    both = [tops_and_bottoms(one, FIGURES) for one in sums]
    drawn = bootstrap_differences(*both)
    shared = np.count_nonzero((both[0][1] > 0) & (both[1][1] > 0), axis=0).tolist()
    totals = [dict(zip(SUMS, one.sum(axis=0).tolist(), strict=True)) for one in sums]
    for share, interval, number in zip(FIGURES, drawn, shared, strict=True):
        if share in RATES and not pairs:
            before, after = ((int(total[share.top]), share.n(total)) for total in totals)
            yield share.name, wilson_difference(before, after) if before[1] and after[1] else None, None
        else:
            yield share.name, interval, FEW_QUESTIONS if number < ENOUGH_QUESTIONS else None


def _change(
    before_date: date, after_date: date, before: Figure, after: Figure, interval: Interval | None, unfit: str | None
) -> Change:
    reason = _why_none(before_date, after_date, before, after, interval) or unfit
    known = before.value is not None and after.value is not None
    if reason is None and interval is not None and interval.low <= 0 <= interval.high:
        reason = NO_DIFFERENCE
    return Change(
        before_date,
        after_date,
        before,
        after,
        difference=after.value - before.value if before.value is not None and after.value is not None else None,
        low=interval.low if known and interval else None,
        high=interval.high if known and interval else None,
        verdict=NOISE if reason else CHANGE,
        reason=reason,
    )


def _why_none(
    before_date: date, after_date: date, before: Figure, after: Figure, interval: Interval | None
) -> str | None:
    """Say what keeps two figures from being compared at all."""
    for day, figure in ((before_date, before), (after_date, after)):
        if figure.value is None:
            return f"no value on {day}: {figure.reason}"
        if figure.coverage is None or figure.coverage < ENOUGH_COVERAGE:
            return f"coverage on {day} is below {ENOUGH_COVERAGE:.0%}"
    return ONE_QUESTION if interval is None else None


def _unlike(before: pd.DataFrame, after: pd.DataFrame) -> str | None:
    """Say what else but time differs between two dates; None when it is the same."""
    versions = [set().union(*side["versions"]) for side in (before, after)]
    if versions[0] != versions[1] or len(versions[0]) > 1:
        return "the extractor version is not the same"
    for column, asked in (("model", "models"), ("location", "locations"), ("question_id", "questions")):
        if set(before[column]) != set(after[column]):
            return f"not the same {asked} were asked"
    return None
