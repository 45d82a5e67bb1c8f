"""The one call that reads answers: what the LLM is shown, and the shape of its reply.

The LLM answers with block numbers, never with text; `grounding` turns them into offsets.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

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


class AnswerReading(BaseModel):
    """One answer's brands, and its evaluation where one was asked for."""

    model_config = ConfigDict(extra="forbid")

    answer: int
    brands: list[str]
    evaluation: EvaluationReading | None


class Reading(BaseModel):
    """The reply to one call."""

    model_config = ConfigDict(extra="forbid")

    answers: list[AnswerReading]


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
    blocks = split_blocks(answer.response_text) if names else []
    return OpenAnswer(answer, names, tuple(_nearest(blocks, names, MAX_CALL_CHARACTERS)))


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


def reading_request(profile: OrgProfile, group: Sequence[OpenAnswer]) -> str:
    """Return the user message: one JSON document, the answers last, so that what calls share comes first."""
    document = {
        "organisation": {
            "name": profile.name,
            "names": list(profile.names),
            "domains": list(site_hosts(profile.websites)),
        },
        "answers": [_shown(number, answer) for number, answer in enumerate(group, 1)],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def has_name(block: Block, names: Sequence[Span]) -> bool:
    """Return whether one of the (sorted) name spans overlaps the block."""
    index = bisect_left(names, block.start, key=lambda name: name.end - 1)
    return index < len(names) and names[index].start < block.end


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
