"""P8: the tokens of reading an org's answers in one call each, and of reading them in separate calls.

Texts are counted with the o200k encoding (current OpenAI models), on the requests that the product really sends and
the replies that the sandbox gives to them. The separate calls get exactly those of our rules that concern them, a
schema of their own fields alone, and the answer's text.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from statistics import mean
from typing import Any

from pydantic import BaseModel, ConfigDict

from visibility.domain import OrgProfile, Sentiment
from visibility.llm.catalog import ModelPrice, TokenUse
from visibility.llm.prompts import load_prompt
from visibility.llm.replies import response_format
from visibility.reading import AnswerReading, EvaluationReading, OpenAnswer, Reading, reading_request

FRAME_TOKENS = 11  # two messages of 3 + 1 tokens, and 3 that begin the reply
Read = Sequence[tuple[OpenAnswer, AnswerReading]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MentionReply(_Strict):
    """Separate call: is this organisation meant, and what is said of it, word for word."""

    is_mention_verified: bool
    mention_text: list[str]


class SentimentReply(_Strict):
    """Separate call: the sentiment."""

    sentiment: Sentiment | None


class BrandsReply(_Strict):
    """Separate call: the brands."""

    brands: list[str]


class EvaluationReply(_Strict):
    """Separate call: everything but the brands."""

    evaluation: EvaluationReading


@dataclass(frozen=True)
class Tokens:
    """Tokens of one call."""

    input: int
    output: int

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True)
class Comparison:
    """Calls per way of reading the same answers."""

    combined: list[Tokens]
    three_calls: list[Tokens]
    three_calls_where_named: list[Tokens]
    two_calls: list[Tokens]

    def ratio(self, other: list[Tokens]) -> float:
        """Return the combined calls' tokens ÷ those of another way."""
        return sum(call.total for call in self.combined) / sum(call.total for call in other)

    @property
    def mean_call(self) -> tuple[float, float]:
        """Return the mean tokens of a combined call, in and out."""
        return mean(call.input for call in self.combined), mean(call.output for call in self.combined)

    def cost_usd(self, price: ModelPrice) -> Decimal:
        """Return what the combined calls cost; nothing is cached, the static part is below the vendor's minimum."""
        return sum((price.cost_usd(TokenUse(call.input, 0, 0, call.output)) for call in self.combined), Decimal(0))


def compared(profile: OrgProfile, read: Read) -> Comparison:
    """Count every way of reading these answers; baselines that skip answers without a name do so by our rule."""
    combined = [one_call(profile, *each) for each in read]
    brands, evaluation, mention, sentiment = [], [], [], []
    for answer, reading in read:
        brands.append(_brands(profile, answer, reading))
        mention.append(_mention(profile, answer, reading))
        sentiment.append(_sentiment(profile, answer, reading))
        evaluation.append(_evaluation(profile, answer, reading))
    named = [bool(answer.names) for answer, _ in read]
    return Comparison(
        combined,
        three_calls=[*mention, *sentiment, *brands],
        three_calls_where_named=[*_where(named, mention), *_where(named, sentiment), *brands],
        two_calls=[*_where(named, evaluation), *brands],
    )


def one_call(profile: OrgProfile, answer: OpenAnswer, reading: AnswerReading) -> Tokens:
    """Count the product's own call."""
    return call([load_prompt("reading").text], Reading, reading_request(profile, [answer]), Reading(answers=[reading]))


def _mention(profile: OrgProfile, answer: OpenAnswer, reading: AnswerReading) -> Tokens:
    found = reading.evaluation
    chosen = [answer.blocks[number - 1] for number in found.mention_blocks] if found else []
    quoted = [answer.text[block.start : block.end] for block in chosen]
    reply = MentionReply(is_mention_verified=bool(found and found.is_mention_verified), mention_text=quoted)
    rules = [*_rules(), *_evaluation_rules("", "is_mention_verified", "mention_blocks")]
    return call(rules, MentionReply, _plain_request(profile, answer), reply)


def _sentiment(profile: OrgProfile, answer: OpenAnswer, reading: AnswerReading) -> Tokens:
    reply = SentimentReply(sentiment=reading.evaluation.sentiment if reading.evaluation else None)
    return call([*_rules(), *_evaluation_rules("sentiment")], SentimentReply, _plain_request(profile, answer), reply)


def _brands(profile: OrgProfile, answer: OpenAnswer, reading: AnswerReading) -> Tokens:
    rules = [*_rules(), _paragraph("brands:")]
    return call(rules, BrandsReply, _plain_request(profile, answer), BrandsReply(brands=reading.brands))


def _evaluation(profile: OrgProfile, answer: OpenAnswer, reading: AnswerReading) -> Tokens:
    blank = EvaluationReading(is_mention_verified=False, mention_blocks=[], sentiment=None, absence_statement=False)
    reply = EvaluationReply(evaluation=reading.evaluation or blank)
    rules = [*_rules(), _paragraph("evaluation:")]
    return call(rules, EvaluationReply, reading_request(profile, [answer]), reply)


def call(rules: Iterable[str], schema: type[BaseModel], user: str, reply: BaseModel) -> Tokens:
    static = count("\n\n".join(rules)) + count(_compact(response_format(schema)))
    return Tokens(FRAME_TOKENS + static + count(user), count(_compact(reply.model_dump(mode="json"))))


def _plain_request(profile: OrgProfile, answer: OpenAnswer) -> str:
    """Return our request with the text as one piece instead of numbered blocks."""
    document = json.loads(reading_request(profile, [answer]))
    for shown in document["answers"]:
        del shown["blocks"], shown["evaluate"]
        shown["text"] = answer.text
    return _compact(document)


def _rules() -> list[str]:
    """Return what every call must be told: the task, what the document holds, that it is data."""
    return load_prompt("reading").text.split("\n\n")[:2]


def _paragraph(beginning: str) -> str:
    return next(part for part in load_prompt("reading").text.split("\n\n") if part.startswith(beginning))


def _evaluation_rules(*fields: str) -> list[str]:
    """Return the lines of these fields of the evaluation; "" stands for the line before the first."""
    first, *lines = _paragraph("evaluation:").splitlines()
    chosen = [line for line in lines if any(field and line.startswith(f"- {field}:") for field in fields)]
    return [first, *chosen] if "" in fields else chosen


def _where(chosen: Sequence[bool], calls: Sequence[Tokens]) -> list[Tokens]:
    return [call for call, wanted in zip(calls, chosen, strict=True) if wanted]


def _compact(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@cache
def _encoding() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it reads its vocabulary the old way, on import
        import bpe_openai
    return bpe_openai.get_encoding("o200k_base")


def count(text: str) -> int:
    """Return the number of o200k tokens."""
    return len(_encoding().encode_ordinary(text))
