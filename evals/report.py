"""The figures of an evaluation as a table, and the verdict on several answers per call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.table import Table

from evals.scoring import MEASURES, Rate, Score
from visibility.domain import LlmCall


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of reading with one number of answers per call; `unread` answers got no evaluation."""

    way: str
    answers_per_call: int
    scores: dict[str, Score]
    calls: list[LlmCall]
    unread: int

    @property
    def tokens(self) -> int:
        return sum(call.input_tokens + call.output_tokens for call in self.calls)

    @property
    def cached_share(self) -> float:
        """The part of the input tokens that came from the vendor's cache, 0 to 1."""
        read = sum(call.input_tokens for call in self.calls)
        return sum(call.cached_tokens for call in self.calls) / read if read else 0.0

    @property
    def cost_usd(self) -> Decimal:
        return sum((call.cost_usd for call in self.calls), Decimal(0))


def figures_table(reader: str, measured: Sequence[Measured]) -> Table:
    """Return precision and recall of every measure, each with its n and 95 % interval, and what reading cost."""
    table = Table(title=f"Labelled set, read with {reader}", title_justify="left")
    for heading in ("way", "per call", "measure", "precision (95 %, n)", "recall (95 %, n)", "calls", "tokens", "USD"):
        table.add_column(heading, no_wrap=True)
    for one in measured:
        costs = (str(len(one.calls)), str(one.tokens), f"{one.cost_usd:.6f}")
        for place, measure in enumerate(MEASURES):
            score = one.scores[measure]
            first = (one.way, str(one.answers_per_call)) if place == 0 else ("", "")
            rates = (_shown(score.precision), _shown(score.recall))
            table.add_row(*first, measure, *rates, *(costs if place == 0 else ()), end_section=measure == MEASURES[-1])
    return table


def worse_than_single(measured: Sequence[Measured]) -> list[str]:
    """Return a sentence for every measure that is lower than with one answer per call in the same way."""
    single = {one.way: one for one in measured if one.answers_per_call == 1}
    return [
        f"{one.way}, {one.answers_per_call} answers per call: {measure} is worse than with one."
        for one in measured
        for measure in MEASURES
        if one.scores[measure].is_worse_than(single[one.way].scores[measure])
    ] + [
        f"{one.way}, {one.answers_per_call} answers per call: {one.unread} answers could not be read."
        for one in measured
        if one.unread > single[one.way].unread
    ]


def not_measured(measured: Sequence[Measured]) -> list[str]:
    """Return a sentence for every way whose single answers were not all read: nothing can be held against those."""
    return [
        f"{one.way}, one answer per call: {one.unread} answers could not be read, so that nothing is measured."
        for one in measured
        if one.answers_per_call == 1 and one.unread
    ]


def _shown(rate: Rate) -> str:
    if rate.value is None or rate.interval is None:
        return "–"
    return f"{rate.value:.3f} ({rate.interval.low:.2f}–{rate.interval.high:.2f}, {rate.n})"
