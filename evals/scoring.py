"""What a reading is worth: right ones among those said, found ones among those labelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from evals.labelled import Case
from visibility.domain import Evaluation, name_key
from visibility.intervals import Interval, wilson

MEASURES = ("mention", "passages", "sentiment", "competitors", "citations", "owned citations")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of n; no value where n is 0."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % Wilson interval."""
        return wilson(self.hits, self.n) if self.n else None

    def is_below(self, other: Rate) -> bool:
        return self.value is not None and other.value is not None and self.value < other.value


@dataclass(frozen=True, slots=True)
class Score:
    """One measure over the whole set."""

    precision: Rate
    recall: Rate

    def is_worse_than(self, other: Score) -> bool:
        """Return whether precision or recall is lower; noise counts too: what may have fallen is not adopted."""
        return self.precision.is_below(other.precision) or self.recall.is_below(other.recall)


def scores(cases: Iterable[Case], evaluations: Mapping[UUID, Evaluation]) -> dict[str, Score]:
    """Return every measure; an answer that was not read has said nothing."""
    totals = {measure: [0, 0, 0, 0] for measure in MEASURES}
    for case in cases:
        evaluation = evaluations.get(case.answer.question_run_id)
        for measure, counts in _counts(case, evaluation).items():
            totals[measure] = [total + count for total, count in zip(totals[measure], counts, strict=True)]
    return {
        measure: Score(Rate(right, said), Rate(found, labelled))
        for measure, (right, said, found, labelled) in totals.items()
    }


def _counts(case: Case, evaluation: Evaluation | None) -> dict[str, tuple[int, int, int, int]]:
    label, said = case.label, _said(evaluation)
    mentioned = {"mentioned"} if label.passages else set()
    labelled: dict[str, set[str]] = {
        "mention": mentioned,
        "sentiment": {label.sentiment} if label.sentiment else set(),
        "competitors": {name_key(name) for name in label.competitors},
        "citations": set(label.cited),
        "owned citations": set(label.owned),
    }
    sets = {measure: _overlap(said[measure], expected) for measure, expected in labelled.items()}
    return {**sets, "passages": _passages(case, evaluation)}


def _said(evaluation: Evaluation | None) -> dict[str, set[str]]:
    if evaluation is None:
        return {measure: set() for measure in MEASURES}
    return {
        "mention": {"mentioned"} if evaluation.mentioned else set(),
        "sentiment": {evaluation.sentiment} if evaluation.sentiment else set(),
        "competitors": {name_key(name) for name in evaluation.competitors},
        "citations": {citation.domain for citation in evaluation.citations},
        "owned citations": {citation.domain for citation in evaluation.citations if citation.type == "primary"},
    }


def _overlap(said: set[str], labelled: set[str]) -> tuple[int, int, int, int]:
    both = len(said & labelled)
    return both, len(said), both, len(labelled)


def _passages(case: Case, evaluation: Evaluation | None) -> tuple[int, int, int, int]:
    """A quotation is right when nothing else stands in it, a labelled passage found when it is quoted whole."""
    text = case.answer.response_text
    said = [text[span.start : span.end] for span in evaluation.spans] if evaluation else []
    right = sum(not _letters(_without(quotation, case.label.passages)) for quotation in said)
    found = sum(any(passage in quotation for quotation in said) for passage in case.label.passages)
    return right, len(said), found, len(case.label.passages)


def _without(quotation: str, passages: Iterable[str]) -> str:
    for passage in passages:
        shared = passage if passage in quotation else quotation if quotation in passage else ""
        quotation = quotation.replace(shared, "") if shared else quotation
    return quotation


def _letters(text: str) -> bool:
    return any(character.isalnum() for character in text)
