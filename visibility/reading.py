"""What the LLM is shown of answers, and the shapes of its replies.

The LLM answers with block numbers, never with text; `grounding` turns them into offsets.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from visibility.brands import site_hosts
from visibility.domain import OrgProfile, Sentiment, Span, StoredAnswer
from visibility.markdown_blocks import Block, split_blocks
from visibility.mentions import find_names

MAX_CALL_CHARACTERS = 120_000
"""Text of all answers of one call; far below the tokens from which vendors charge double (272,000)."""


_ADDRESS = re.compile(r"https?://(?:www\.)?([^\s/?#()\[\]<>\"|]+)[^\s()\[\]<>\"|]*", re.IGNORECASE)


class EvaluationReading(BaseModel):
    """What one answer says about the organisation; `mention_blocks` count from 1 as shown."""

    model_config = ConfigDict(extra="forbid")

    is_mention_verified: bool
    mention_blocks: list[int]
    sentiment: Sentiment | None
    absence_statement: bool


class Entry(BaseModel):
    """What a reply says about the answer of this number."""

    model_config = ConfigDict(extra="forbid")

    answer: int

    def is_complete(self, *, evaluated: bool) -> bool:
        """Return whether it says what was asked for; `evaluated` is whether an evaluation was."""
        return True


class AnswerBrands(Entry):
    """One answer's brands."""

    brands: list[str]


class AnswerMention(Entry):
    """One answer's evaluation."""

    evaluation: EvaluationReading | None

    def is_complete(self, *, evaluated: bool) -> bool:
        """Return whether the evaluation is there where one was asked for."""
        return self.evaluation is not None or not evaluated


class AnswerReading(AnswerMention, AnswerBrands):
    """One answer's brands, and its evaluation where one was asked for."""


Entries = TypeVar("Entries", bound=Entry)


class Reply(BaseModel, Generic[Entries]):
    """The reply to one call; its class name is the name of the schema that the LLM is given."""

    model_config = ConfigDict(extra="forbid")

    answers: list[Entries]


class Reading(Reply[AnswerReading]):
    """Brands and evaluation together: for answers that belong to one org."""


class Brands(Reply[AnswerBrands]):
    """Brands alone: for answers that several orgs share."""


class Mentions(Reply[AnswerMention]):
    """Evaluations alone: for the orgs that share them."""


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """An answer ready to be read: where the org's names stand, and the blocks as the LLM is shown them.

    No name, no blocks: then only brands are asked for.
    """

    answer: StoredAnswer
    names: tuple[Span, ...]
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        return self.answer.response_text

    @property
    def shown_characters(self) -> int:
        return min(len(self.text), MAX_CALL_CHARACTERS)


def open_answer(answer: StoredAnswer, profile: OrgProfile) -> OpenAnswer:
    """Look for the org's names and cut the text into blocks where one stands."""
    names = tuple(find_names(answer.response_text, list(profile.names)))
    blocks = _blocks(answer.response_text) if names else ()
    return OpenAnswer(answer, names, tuple(_nearest(blocks, names, MAX_CALL_CHARACTERS)))


# the orgs of a network read the same answers: parsing takes 2 ms for 3,000 characters
@lru_cache(maxsize=128)
def _blocks(text: str) -> tuple[Block, ...]:
    return tuple(split_blocks(text))


def call_groups(answers: Sequence[OpenAnswer], answers_per_call: int) -> list[list[OpenAnswer]]:
    """Put answers into calls of at most `answers_per_call` answers and MAX_CALL_CHARACTERS characters."""
    groups: list[list[OpenAnswer]] = []
    room = 0
    for answer in answers:
        room -= answer.shown_characters
        if not groups or room < 0 or len(groups[-1]) >= answers_per_call:
            groups.append([])
            room = MAX_CALL_CHARACTERS - answer.shown_characters
        groups[-1].append(answer)
    return groups


def reading_request(profile: OrgProfile | None, group: Sequence[OpenAnswer]) -> str:
    """Return the user message: one JSON document, the answers last, so that what calls share comes first.

    Without a profile no organisation is named: then only brands can be asked for.
    """
    organisation = {} if profile is None else {"organisation": _organisation(profile)}
    document = {**organisation, "answers": [_shown(number, answer) for number, answer in enumerate(group, 1)]}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def has_name(block: Block, names: Sequence[Span]) -> bool:
    """Return whether one of the (sorted) name spans overlaps the block."""
    index = bisect_left(names, block.start, key=lambda name: name.end - 1)
    return index < len(names) and names[index].start < block.end


def _organisation(profile: OrgProfile) -> dict[str, object]:
    return {"name": profile.name, "names": list(profile.names), "domains": list(site_hosts(profile.websites))}


def _shown(number: int, answer: OpenAnswer) -> dict[str, object]:
    texts = [answer.text[block.start : block.end] for block in answer.blocks] or [answer.text]
    return {
        "answer": number,
        "question": answer.answer.question_text,
        "evaluate": bool(answer.names),
        # the number stands in the text too: models count long lists badly
        "blocks": [f"[{place}] {with_bare_hosts(text[:MAX_CALL_CHARACTERS])}" for place, text in enumerate(texts, 1)],
    }


def with_bare_hosts(text: str) -> str:
    """Return the text with every address cut to its host: that tells whose site it is, the rest only costs tokens."""
    return _ADDRESS.sub(r"\1", text) if "://" in text else text


def _nearest(blocks: Sequence[Block], names: Sequence[Span], limit: int) -> list[Block]:
    """Return the blocks in order, or of a text beyond `limit` characters those nearest to a name that fit."""
    if sum(block.end - block.start for block in blocks) <= limit:
        return list(blocks)
    named = [index for index, block in enumerate(blocks) if has_name(block, names)] or [0]
    kept: list[int] = []
    for index in sorted(range(len(blocks)), key=lambda index: _distance(index, named)):
        limit -= blocks[index].end - blocks[index].start
        if limit < 0 and kept:
            break
        kept.append(index)
    return [blocks[index] for index in sorted(kept)]


def _distance(index: int, named: Sequence[int]) -> int:
    place = bisect_left(named, index)
    return min(abs(index - other) for other in named[max(place - 1, 0) : place + 1])
