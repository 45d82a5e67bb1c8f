"""Every figure of an org's visibility, each with n, unit, coverage and interval.

The unit is a usable answer: a question run that is answered and evaluated. What is missing shows in
coverage and never in a denominator; a figure without a denominator is None with a reason, not 0.
Ratios are 0–1. pandas and numpy are imported on first use, so that commands start fast.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from visibility.intervals import Interval, bootstrap_ratios, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Columns: TypeAlias = dict[str, NDArray[Any]]

__all__ = ["Cells", "CostFigure", "Figure", "Interval", "OrgMetrics", "metrics_by", "org_metrics", "rate", "wilson"]

RANK_DISCOUNT = 0.9  # rank-weighted visibility: 0.9^(rank − 1)
NO_ANSWER = "no answer was evaluated"
ONE_QUESTION = "no interval: it takes answers to two questions"
SENTIMENT_SIGNS = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}
NUMBERS = ("mentioned", "cited", "grounded", "rank", "sov", "competitors", "citations", "own_citations")


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
    return _metrics_of(_columns(frame))


def metrics_by(frame: pd.DataFrame, *columns: str) -> dict[Hashable, OrgMetrics]:
    """Compute the figures for every value of a column (`model`, `location`, …), or tuple of values of several."""
    by: str | list[str] = columns[0] if len(columns) == 1 else list(columns)
    runs = _columns(frame)
    groups = frame.reset_index(drop=True).groupby(by, sort=True).groups
    return {key: _metrics_of(_at(runs, places.to_numpy())) for key, places in groups.items()}


def _columns(frame: pd.DataFrame) -> Columns:
    """Return what the figures need of each run; unknown is NaN, true is 1.

    As arrays: an org has a dozen groups, and a frame of a group takes longer to make than its figures.
    """
    import numpy as np

    _, questions = np.unique(frame["question_id"].astype(str).to_numpy(dtype=object), return_inverse=True)
    return {
        **{name: frame[name].to_numpy(dtype=float, na_value=np.nan) for name in NUMBERS},
        "sign": frame["sentiment"].map(SENTIMENT_SIGNS).to_numpy(dtype=float, na_value=np.nan),
        "question": questions,
        "answered": (frame["status"] == "answered").to_numpy(),
        "evaluated": frame["evaluated"].to_numpy(dtype=bool),
        "answer_cost_usd": frame["answer_cost_usd"].to_numpy(dtype=object),
        "evaluation_cost_usd": frame["evaluation_cost_usd"].to_numpy(dtype=object),
    }


def _at(runs: Columns, places: NDArray[Any]) -> Columns:
    return {name: column[places] for name, column in runs.items()}


def _metrics_of(runs: Columns) -> OrgMetrics:
    expected, answered = len(runs["answered"]), int(runs["answered"].sum())
    coverage = answered / expected if expected else None
    usable = _at(runs, runs["evaluated"])
    mentioned, n = usable["mentioned"], len(usable["mentioned"])
    return OrgMetrics(
        expected=expected,
        answered=answered,
        evaluated=n,
        coverage=_coverage(coverage, expected),
        mention_rate=rate("mention_rate", int(mentioned.sum()), n, "evaluated answers", coverage, NO_ANSWER),
        owned_citation_rate=_owned_citation_rate(usable, coverage),
        cells=_cells(mentioned, usable["cited"], coverage),
        cost_per_usable_answer=_cost("cost_per_usable_answer", runs, answered, "usable answers", coverage),
        cost_per_mention=_cost("cost_per_mention", runs, int(mentioned.sum()), "answers naming the org", coverage),
        **_shares(usable, mentioned, coverage),
    )


class Share(NamedTuple):
    """A figure that is Σ tops ÷ Σ bottoms over evaluated answers (one entry per answer)."""

    name: str
    unit: str
    tops: Column
    bottoms: Column | NDArray[np.bool_]
    reason: str
    left_out: int = 0


def _shares(usable: Columns, mentioned: Column, coverage: float | None) -> dict[str, Figure]:
    """Return the bootstrapped figures by name."""
    import numpy as np

    shares = [
        *_voices(usable, mentioned),
        *_ranks(usable, mentioned),
        _sentiment(usable, mentioned),
        _citations(usable),
    ]
    _, question = np.unique(usable["question"], return_inverse=True)
    belongs = np.equal.outer(np.arange(question.max(initial=-1) + 1), question).astype(float)
    intervals = bootstrap_ratios(
        belongs @ np.column_stack([share.tops for share in shares]),
        belongs @ np.column_stack([share.bottoms for share in shares]),
    )
    return {
        share.name: _share_figure(share, interval, coverage) for share, interval in zip(shares, intervals, strict=True)
    }


def _voices(usable: Columns, mentioned: Column) -> tuple[Share, Share]:
    import numpy as np

    by_text = usable["sov"]
    known = ~np.isnan(by_text)
    named = mentioned + usable["competitors"]
    return (
        Share(
            "share_of_voice_by_text",
            "evaluated answers",
            np.where(known, by_text, 0),
            known,
            NO_ANSWER,
            int((~known).sum()),
        ),
        Share("share_of_voice_by_mentions", "namings of any brand", mentioned, named, "no answer names a brand"),
    )


def _ranks(usable: Columns, mentioned: Column) -> tuple[Share, Share]:
    import numpy as np

    rank = usable["rank"]
    ranked = (mentioned > 0) & ~np.isnan(rank)
    unknown = int((mentioned > 0).sum() - ranked.sum())
    place = np.where(ranked, rank, 1)
    visible = np.where(ranked, RANK_DISCOUNT ** (place - 1), 0)
    known = ranked | (mentioned == 0)
    return (
        Share(
            "average_rank", "ranked mentions", np.where(ranked, place, 0), ranked, "no answer ranks the org", unknown
        ),
        Share("rank_weighted_visibility", "evaluated answers", visible, known, NO_ANSWER, unknown),
    )


def _sentiment(usable: Columns, mentioned: Column) -> Share:
    import numpy as np

    sign = usable["sign"]
    judged = (mentioned > 0) & ~np.isnan(sign)
    unjudged = int((mentioned > 0).sum() - judged.sum())
    return Share(
        "sentiment_index", "judged mentions", np.where(judged, sign, 0), judged, "no mention was judged", unjudged
    )


def _citations(usable: Columns) -> Share:
    own, cited = usable["own_citations"], usable["citations"]
    return Share("citation_share", "citations", own, cited, "no answer cites a source")


def _share_figure(share: Share, interval: Interval | None, coverage: float | None) -> Figure:
    n = int(share.bottoms.sum())
    if n == 0:
        return Figure(share.name, None, 0, share.unit, None, None, coverage, share.reason, share.left_out)
    value = float(share.tops.sum() / share.bottoms.sum())
    if interval is None:
        return Figure(share.name, value, n, share.unit, None, None, coverage, ONE_QUESTION, share.left_out)
    return Figure(share.name, value, n, share.unit, interval.low, interval.high, coverage, None, share.left_out)


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


def _owned_citation_rate(usable: Columns, coverage: float | None) -> Figure:
    import numpy as np

    grounded = usable["grounded"]
    citing = int(usable["cited"][grounded == 1].sum())
    n, unknown = int((grounded == 1).sum()), int(np.isnan(grounded).sum())
    reason = "no answer is known to have searched the web"
    return rate("owned_citation_rate", citing, n, "grounded answers", coverage, reason, unknown)


def _cells(mentioned: Column, cited: Column, coverage: float | None) -> Cells:
    named, own = mentioned > 0, cited > 0
    return Cells(
        both=int((named & own).sum()),
        named_only=int((named & ~own).sum()),
        cited_only=int((~named & own).sum()),
        neither=int((~named & ~own).sum()),
        coverage=coverage,
    )


def _cost(name: str, runs: Columns, n: int, unit: str, coverage: float | None) -> CostFigure:
    """Divide the cost of all runs, also of those that came to nothing, by `n`; six decimals."""
    if n == 0:
        return CostFigure(name, None, 0, unit, coverage, f"there are no {unit}")
    total = sum(runs["answer_cost_usd"], Decimal(0)) + sum(runs["evaluation_cost_usd"], Decimal(0))
    return CostFigure(name, round(Decimal(total) / n, 6), n, unit, coverage)
