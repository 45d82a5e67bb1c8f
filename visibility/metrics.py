"""Every figure of an org's visibility, each with n, unit, coverage and interval.

The unit is a usable answer: a question run that is answered and evaluated. What is missing shows in
coverage and never in a denominator; a figure without a denominator is None with a reason, not 0.
Ratios are 0–1. pandas and numpy are imported on first use, so that commands start fast.

Every figure follows from sums per question (`SUMS`): over the runs of a frame they are taken here, over many runs by
the database (`store.report_sums`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from visibility.intervals import Interval, bootstrap_ratios, wilson
from visibility.sums import SUMS, SumRows, rows_of_runs, rows_of_sums

if TYPE_CHECKING:
    import pandas as pd

    from visibility.sums import Column

__all__ = [
    "Cells",
    "CostFigure",
    "Figure",
    "Interval",
    "OrgMetrics",
    "metrics_by",
    "metrics_of_sums",
    "metrics_of_sums_by",
    "org_metrics",
    "rate",
    "wilson",
]

NO_ANSWER = "no answer was evaluated"
ONE_QUESTION = "no interval: it takes answers to two questions"
PAIRS = "(answer, member) pairs"
SHARED_COST = "an answer of a network is bought once for all members"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its 95 % interval; `n` counts `unit`, `left_out` those of unknown value.

    `reason` says why the value, or only its interval, is None.
    """

    name: str
    value: float | None
    n: int
    unit: str
    low: float | None
    high: float | None
    coverage: float | None
    reason: str | None = None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class CostFigure:
    """USD per `unit`, from the cost of the answers and of their evaluation."""

    name: str
    value: Decimal | None
    n: int
    unit: str
    coverage: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Cells:
    """Evaluated answers by: is the org named, is its own site cited."""

    both: int
    named_only: int
    cited_only: int
    neither: int
    coverage: float | None

    @property
    def n(self) -> int:
        """All evaluated answers."""
        return self.both + self.named_only + self.cited_only + self.neither


@dataclass(frozen=True, slots=True)
class OrgMetrics:
    """All figures of one org over some question runs."""

    expected: int
    answered: int
    evaluated: int
    coverage: Figure
    mention_rate: Figure
    owned_citation_rate: Figure
    share_of_voice_by_text: Figure
    share_of_voice_by_mentions: Figure
    average_rank: Figure
    rank_weighted_visibility: Figure
    sentiment_index: Figure
    citation_share: Figure
    cells: Cells
    cost_per_usable_answer: CostFigure
    cost_per_mention: CostFigure

    def figures(self) -> tuple[Figure, ...]:
        """Return every figure that has an interval, in the order in which they are shown."""
        return (
            self.mention_rate,
            self.share_of_voice_by_text,
            self.share_of_voice_by_mentions,
            self.average_rank,
            self.rank_weighted_visibility,
            self.sentiment_index,
            self.owned_citation_rate,
            self.citation_share,
        )


def org_metrics(frame: pd.DataFrame) -> OrgMetrics:
    """Compute every figure over the runs of `frame`, which has the columns of `store.results.load_frame`.

    The same frame gives the same intervals: the bootstrap is seeded.
    """
    return _metrics_of(rows_of_runs(frame))


def metrics_by(frame: pd.DataFrame, *columns: str) -> dict[Hashable, OrgMetrics]:
    """Compute the figures for every value of a column (`model`, `location`, …), or tuple of values of several."""
    return _grouped(rows_of_runs(frame), frame, columns)


def metrics_of_sums(frame: pd.DataFrame, *, pairs: bool = False) -> OrgMetrics:
    """As `org_metrics`, over rows of sums: columns `question_id`, `SUMS` and `COSTS`, any number of rows a question.

    `pairs`: the sums are of several members of a network over the same answers. Then rates too have an interval over
    questions, because the members of an answer are no independent runs, and costs are None.
    """
    return _metrics_of(rows_of_sums(frame), pairs=pairs)


def metrics_of_sums_by(frame: pd.DataFrame, *columns: str, pairs: bool = False) -> dict[Hashable, OrgMetrics]:
    """As `metrics_by`, over rows of sums."""
    return _grouped(rows_of_sums(frame), frame, columns, pairs=pairs)


def _grouped(
    runs: SumRows, frame: pd.DataFrame, columns: tuple[str, ...], *, pairs: bool = False
) -> dict[Hashable, OrgMetrics]:
    by: str | list[str] = columns[0] if len(columns) == 1 else list(columns)
    groups = frame.reset_index(drop=True).groupby(by, sort=True).groups
    return {key: _metrics_of(runs.at(places.to_numpy()), pairs=pairs) for key, places in groups.items()}


def _metrics_of(runs: SumRows, *, pairs: bool = False) -> OrgMetrics:
    sums = dict(zip(SUMS, runs.sums.sum(axis=0).tolist(), strict=True))
    expected, answered, n = (int(sums[name]) for name in ("expected", "answered", "evaluated"))
    coverage = answered / expected if expected else None
    costs = _no_costs(coverage) if pairs else _costs(runs, answered, int(sums["mentioned"]), coverage)
    return OrgMetrics(
        expected=expected,
        answered=answered,
        evaluated=n,
        coverage=_coverage(coverage, expected),
        cells=_cells(sums, coverage),
        cost_per_usable_answer=costs[0],
        cost_per_mention=costs[1],
        **(_pair_figures if pairs else _figures)(runs, sums, coverage),
    )


def _figures(runs: SumRows, sums: Mapping[str, float], coverage: float | None) -> dict[str, Figure]:
    """Return all figures by name: rates with Wilson's interval, the others bootstrapped."""
    figures = {share.name: _wilson_figure(share, sums, coverage) for share in RATES}
    return {**figures, **_bootstrapped(runs, sums, SHARES, coverage)}


def _pair_figures(runs: SumRows, sums: Mapping[str, float], coverage: float | None) -> dict[str, Figure]:
    """Return all figures by name, bootstrapped; what is counted in answers is (answer, member) pairs."""
    figures = _bootstrapped(runs, sums, FIGURES, coverage)
    return {name: replace(figure, unit=figure.unit.replace("answers", PAIRS)) for name, figure in figures.items()}


class Share(NamedTuple):
    """A figure that is Σ top ÷ Σ bottom of named sums, those of `bottom` by their weight.

    `known` of `all` have a known value; the difference is left out.
    """

    name: str
    unit: str
    top: str
    bottom: Mapping[str, int]
    reason: str
    known: str = ""
    all: str = ""

    def n(self, sums: Mapping[str, float]) -> int:
        """Return the denominator of sums by name."""
        return int(sum(weight * sums[name] for name, weight in self.bottom.items()))

    def left_out(self, sums: Mapping[str, float]) -> int:
        """Return how many of unknown value are in no denominator."""
        return int(sums[self.all] - sums[self.known]) if self.all else 0


RATES = (
    Share("mention_rate", "evaluated answers", "mentioned", {"evaluated": 1}, NO_ANSWER),
    Share(
        "owned_citation_rate", "grounded answers", "grounded_and_cited", {"grounded": 1},
        "no answer is known to have searched the web", "grounding_known", "evaluated",
    ),
)  # fmt: skip
SHARES = (
    Share(
        "share_of_voice_by_text", "evaluated answers", "text_voice", {"text_voice_known": 1}, NO_ANSWER,
        "text_voice_known", "evaluated",
    ),
    Share(
        "share_of_voice_by_mentions", "namings of any brand", "mentioned", {"mentioned": 1, "competitors": 1},
        "no answer names a brand",
    ),
    Share("average_rank", "ranked mentions", "ranks", {"ranked": 1}, "no answer ranks the org", "ranked", "mentioned"),
    Share(
        "rank_weighted_visibility", "evaluated answers", "rank_visibility",
        {"evaluated": 1, "mentioned": -1, "ranked": 1}, NO_ANSWER, "ranked", "mentioned",
    ),
    Share(
        "sentiment_index", "judged mentions", "sentiment", {"judged": 1}, "no mention was judged", "judged",
        "mentioned",
    ),
    Share("citation_share", "citations", "own_citations", {"citations": 1}, "no answer cites a source"),
)  # fmt: skip
FIGURES = (RATES[0], *SHARES[:5], RATES[1], SHARES[5])


def _bootstrapped(
    runs: SumRows, sums: Mapping[str, float], shares: Sequence[Share], coverage: float | None
) -> dict[str, Figure]:
    intervals = bootstrap_ratios(*tops_and_bottoms(runs.by_question(runs.read_questions()), shares))
    return {
        share.name: _share_figure(share, sums, interval, coverage)
        for share, interval in zip(shares, intervals, strict=True)
    }


def tops_and_bottoms(sums: Column, shares: Sequence[Share]) -> tuple[Column, Column]:
    """Return numerators and denominators, (questions × figures) each, of sums (questions × `SUMS`)."""
    import numpy as np

    bottoms = np.array([[share.bottom.get(name, 0) for share in shares] for name in SUMS], dtype=float)
    return sums[:, [SUMS.index(share.top) for share in shares]], sums @ bottoms


def _share_figure(share: Share, sums: Mapping[str, float], interval: Interval | None, coverage: float | None) -> Figure:
    n, left_out = share.n(sums), share.left_out(sums)
    if n == 0:
        return Figure(share.name, None, 0, share.unit, None, None, coverage, share.reason, left_out)
    value = sums[share.top] / n
    if interval is None:
        return Figure(share.name, value, n, share.unit, None, None, coverage, ONE_QUESTION, left_out)
    return Figure(share.name, value, n, share.unit, interval.low, interval.high, coverage, None, left_out)


def _wilson_figure(share: Share, sums: Mapping[str, float], coverage: float | None) -> Figure:
    top, n, left_out = int(sums[share.top]), share.n(sums), share.left_out(sums)
    return rate(share.name, top, n, share.unit, coverage, share.reason, left_out)


def _coverage(coverage: float | None, expected: int) -> Figure:
    """Coverage is a count, not a sample: it has no interval."""
    reason = None if expected else "no run was expected"
    return Figure("coverage", coverage, expected, "expected runs", None, None, coverage, reason)


def rate(
    name: str, successes: int, n: int, unit: str, coverage: float | None, reason: str, left_out: int = 0
) -> Figure:
    """Return successes ÷ n with its Wilson interval; None, for the given reason, when n is 0."""
    if n == 0:
        return Figure(name, None, 0, unit, None, None, coverage, reason, left_out)
    interval = wilson(successes, n)
    return Figure(name, successes / n, n, unit, interval.low, interval.high, coverage, None, left_out)


def _cells(sums: Mapping[str, float], coverage: float | None) -> Cells:
    both = int(sums["mentioned_and_cited"])
    named_only, cited_only = int(sums["mentioned"]) - both, int(sums["cited"]) - both
    neither = int(sums["evaluated"]) - both - named_only - cited_only
    return Cells(both, named_only, cited_only, neither, coverage)


def _costs(runs: SumRows, answered: int, mentioned: int, coverage: float | None) -> tuple[CostFigure, CostFigure]:
    total = sum((sum(cost, Decimal(0)) for cost in runs.costs), Decimal(0))
    return (
        cost_figure("cost_per_usable_answer", total, answered, "usable answers", coverage),
        cost_figure("cost_per_mention", total, mentioned, "answers naming the org", coverage),
    )


def cost_figure(name: str, total_usd: Decimal, n: int, unit: str, coverage: float | None) -> CostFigure:
    """Divide the cost of all runs, also of those that came to nothing, by `n`; six decimals."""
    if n == 0:
        return CostFigure(name, None, 0, unit, coverage, f"there are no {unit}")
    return CostFigure(name, round(Decimal(total_usd) / n, 6), n, unit, coverage)


def _no_costs(coverage: float | None) -> tuple[CostFigure, CostFigure]:
    return (
        CostFigure("cost_per_usable_answer", None, 0, f"usable {PAIRS}", coverage, SHARED_COST),
        CostFigure("cost_per_mention", None, 0, f"{PAIRS} naming the org", coverage, SHARED_COST),
    )
