"""The guards in code: from the LLM's block numbers to what an answer verifiably says about an org."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from visibility import brands as brand_rules
from visibility.citations import find_citations
from visibility.domain import Brand, Evaluation, OrgProfile, Sentiment, Span
from visibility.markdown_blocks import Block
from visibility.mentions import find_passages, share_of_voice
from visibility.reading import AnswerReading, EvaluationReading, OpenAnswer, has_name

SEPARATOR = " || "


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the org is mentioned, why, and where; no spans unless mentioned."""

    mentioned: bool
    reason: str
    sentiment: Sentiment | None = None
    spans: tuple[Span, ...] = ()
    ungrounded: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """An answer's part of a call's tokens and cost in USD."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)


def evaluate(
    opened: OpenAnswer, reading: AnswerReading | None, profile: OrgProfile, version: str, share: Share
) -> Evaluation:
    """Return the evaluation of one answer; without a reading by rule alone (no brands, no rank, no sentiment)."""
    if reading is None:
        return evaluation_of(opened, _by_rule(opened, profile), None, profile, version, share)
    named = brand_rules.find_brands(opened.text, reading.brands)
    return evaluation_of(opened, verdict_of(opened, reading.evaluation), named, profile, version, share)


def evaluation_of(
    opened: OpenAnswer,
    verdict: Verdict,
    named: tuple[Brand, ...] | None,
    profile: OrgProfile,
    version: str,
    share: Share,
) -> Evaluation:
    """Return the evaluation that follows from a verdict and the brands of the text; without brands no rank."""
    text = opened.text
    others = brand_rules.competitors(named or (), profile, verified=verdict.mentioned)
    rank = brand_rules.rank(_first_name(opened, verdict.spans), others) if named is not None and verdict.spans else None
    citations = tuple(find_citations(text, list(profile.websites), opened.answer.provider_sources))
    return Evaluation(
        question_run_id=opened.answer.question_run_id,
        org_id=profile.org_id,
        extractor_version=version,
        mentioned=verdict.mentioned,
        reason=verdict.reason,
        sentiment=verdict.sentiment,
        spans=verdict.spans,
        mention_text=SEPARATOR.join(text[span.start : span.end] for span in verdict.spans) or None,
        mention_rank=rank,
        share_of_voice=share_of_voice(list(verdict.spans), text),
        citation=any(citation.type == "primary" for citation in citations),
        citations=citations,
        brands=named or (),
        competitors=tuple(brand.name for brand in others),
        ungrounded=verdict.ungrounded,
        input_tokens=share.input_tokens,
        output_tokens=share.output_tokens,
        cost_usd=share.cost_usd,
    )


def verdict_of(opened: OpenAnswer, reading: EvaluationReading | None) -> Verdict:
    """Hold what the LLM said against the text.

    Numbers that were not shown are dropped and counted; of the chosen blocks only runs in which a name stands
    are kept; with nothing left the org counts as not mentioned.
    """
    if not opened.names or reading is None:
        return Verdict(False, "name_absent")
    chosen = sorted(set(reading.mention_blocks))
    blocks = [opened.blocks[number - 1] for number in chosen if 1 <= number <= len(opened.blocks)]
    ungrounded = len(chosen) - len(blocks)
    if reading.absence_statement:
        return Verdict(False, "absence_statement", ungrounded=ungrounded)
    runs = [run for run in _runs(blocks) if any(has_name(block, opened.names) for block in run)]
    if not reading.is_mention_verified or not runs:
        return Verdict(False, "not_verified", ungrounded=ungrounded)
    spans = tuple(span for run in runs for span in _merged(run, opened.text))
    return Verdict(True, "verified", reading.sentiment, spans, ungrounded)


def _by_rule(opened: OpenAnswer, profile: OrgProfile) -> Verdict:
    spans = tuple(find_passages(opened.text, list(profile.names))) if opened.names else ()
    return Verdict(True, "rule_only", None, spans) if spans else Verdict(False, "name_absent")


def _runs(blocks: Sequence[Block]) -> list[list[Block]]:
    """Cut ascending blocks into runs of consecutive numbers."""
    runs: list[list[Block]] = []
    for block in blocks:
        if runs and block.number == runs[-1][-1].number + 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _merged(run: Sequence[Block], text: str) -> list[Span]:
    """Return the run as spans; neighbours are one span unless words stand between them."""
    spans: list[Span] = []
    for block in run:
        if spans and not any(character.isalnum() for character in text[spans[-1].end : block.start]):
            spans[-1] = Span(spans[-1].start, block.end)
        else:
            spans.append(Span(block.start, block.end))
    return spans


def _first_name(opened: OpenAnswer, spans: Sequence[Span]) -> int:
    """Return where the first name inside the verified spans begins."""
    return next(
        (name.start for name in opened.names for span in spans if span.start < name.end and name.start < span.end),
        spans[0].start,
    )
