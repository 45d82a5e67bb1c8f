"""How a report's figures are called, explained and written. Ratios become percent only here."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from visibility.metrics import CostFigure, Figure
from visibility.report.content import Slice

NOTHING = "–"
UNBROKEN = "\u00a0"  # a space where no line ends
TITLES = {
    "coverage": "Coverage",
    "mention_rate": "Mention rate",
    "share_of_voice_by_text": "Share of voice, text",
    "share_of_voice_by_mentions": "Share of voice, names",
    "average_rank": "Average rank",
    "rank_weighted_visibility": "Rank-weighted visibility",
    "sentiment_index": "Sentiment index",
    "owned_citation_rate": "Own site cited",
    "citation_share": "Citation share",
    "cost_per_usable_answer": "Cost per usable answer",
    "cost_per_mention": "Cost per mention",
}
MEANINGS = {
    "coverage": "answers that came back ÷ answers that were expected; what failed is in no other figure",
    "mention_rate": "evaluated answers that name the organisation ÷ evaluated answers",
    "share_of_voice_by_text": "characters of the passages about it ÷ characters of the answer, mean over answers",
    "share_of_voice_by_mentions": "answers that name it ÷ all namings of it and of other brands",
    "average_rank": "mean place among the brands of the answers that name it; 1 is named first, so less is better",
    "rank_weighted_visibility": "mean of 0.9^(rank − 1), 0 where it is not named; 1 is named first everywhere",
    "sentiment_index": "(positive − negative) ÷ judged mentions, from −1 to 1",
    "owned_citation_rate": "answers that cite its own site ÷ answers known to have searched the web",
    "citation_share": "citations of its own site ÷ all citations; a URL counts once per answer",
    "cost_per_usable_answer": "what answers and reading cost ÷ answers that came back",
    "cost_per_mention": "what answers and reading cost ÷ answers that name it",
}
RATIOS = frozenset(TITLES) - {
    "average_rank", "rank_weighted_visibility", "sentiment_index", "cost_per_usable_answer", "cost_per_mention",
}  # fmt: skip


def written(name: str, value: float | None) -> str:
    """Write a figure's value: a ratio as percent, anything else with two decimals, a dash for None."""
    if value is None:
        return NOTHING
    return f"{100 * value:.1f}{UNBROKEN}%" if name in RATIOS else f"{value:.2f}".replace("-", "−")


def difference(name: str, value: float | None) -> str:
    """Write a difference with its sign; of ratios in percentage points."""
    if value is None:
        return NOTHING
    text = f"{_rounded(100 * value, 1):+.1f}{UNBROKEN}pp" if name in RATIOS else f"{_rounded(value, 2):+.2f}"
    return text.replace("-", "−")


def _rounded(value: float, places: int) -> float:
    """Round; nothing is written as −0."""
    return round(value, places) + 0.0


def interval(figure: Figure) -> str:
    """Write the 95 % interval; nothing where there is none."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = written(figure.name, figure.low).removesuffix(f"{UNBROKEN}%"), written(figure.name, figure.high)
    return f"{low} to {high}".replace(" ", UNBROKEN)


def interval_of_difference(name: str, low: float | None, high: float | None) -> str:
    """Write the 95 % interval of a difference; nothing where there is none."""
    if low is None or high is None:
        return ""
    return f"{difference(name, low).removesuffix(f'{UNBROKEN}pp')} to {difference(name, high)}".replace(" ", UNBROKEN)


def counted(n: int, unit: str) -> str:
    """Write a count with what it counts."""
    return f"{n:,} {unit}"


def note(figure: Figure | CostFigure) -> str:
    """Say why a value or its interval is missing, and how many were left out."""
    left_out = getattr(figure, "left_out", 0)
    parts = [figure.reason or "", f"{left_out:,} of unknown value left out" if left_out else ""]
    return "; ".join(part for part in parts if part)


def usd(amount: Decimal | None) -> str:
    """Write an amount in USD; a dash for None."""
    return NOTHING if amount is None else f"{amount:,.4f} USD"


def joined(names: Sequence[str]) -> str:
    """Write names as in a sentence: `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "no model"


def together(models: Sequence[str]) -> str:
    """Say which models' answers are in one figure."""
    return f"{joined(models)} together" if len(models) > 1 else f"{joined(models)} alone"


def label_of(one: Slice) -> str:
    """Return what a slice is called in its table: date, location, question, tag or model; two joined by a dot."""
    names = [str(one.run_date) if one.run_date else None, one.location, one.question and one.question.text, one.tag]
    if "model" in one.breakdown:
        names.append(one.models[0])
    return " · ".join(name for name in names if name)
