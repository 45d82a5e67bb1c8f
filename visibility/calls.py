"""The kinds of structured call about answers, and the one way in which they are made: in groups, each once more.

What an org's own answers say is read jointly (brands and evaluation in one call). Where orgs share the answers, the
brands are one call per answer and the evaluation another one per answer and org.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic
from uuid import UUID

import structlog

from visibility.domain import LlmCall, OrgProfile
from visibility.errors import FatalError, ItemError, UnusableReply, VisibilityError
from visibility.grounding import Share
from visibility.llm.catalog import MICRO_USD
from visibility.llm.client import LlmClient
from visibility.llm.prompts import load_prompt
from visibility.reading import (
    AnswerBrands,
    AnswerMention,
    AnswerReading,
    Brands,
    Entries,
    Mentions,
    OpenAnswer,
    Reading,
    Reply,
    call_groups,
    reading_request,
)
from visibility.settings import LlmSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallKind(Generic[Entries]):
    """What is asked about answers; `purpose` is what llm_calls stores, `prompt` the name of a prompt file."""

    purpose: str
    prompt: str
    schema: type[Reply[Entries]]
    model: Callable[[LlmSettings], str]


READING: CallKind[AnswerReading] = CallKind("evaluation", "reading", Reading, lambda llm: llm.evaluation_model)
BRANDS: CallKind[AnswerBrands] = CallKind("brands", "brands", Brands, lambda llm: llm.brands_model)
MENTION: CallKind[AnswerMention] = CallKind("mention", "mention", Mentions, lambda llm: llm.evaluation_model)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an answer was not read; `of_answer` when its text is the reason, not the vendor's state or the network's."""

    code: str
    of_answer: bool


class Reader(Generic[Entries]):
    """Makes the calls of one kind for some answers of a batch; collects calls and failures, raises nothing of ours.

    Without a profile the calls are no org's.
    """

    def __init__(
        self, client: LlmClient, kind: CallKind[Entries], batch_id: UUID, profile: OrgProfile | None = None
    ) -> None:
        self._client, self._kind, self._batch_id, self._profile = client, kind, batch_id, profile
        self.calls: list[LlmCall] = []
        self.failed: dict[UUID, Failure] = {}
        self.fatal: FatalError | None = None

    async def read(
        self,
        answers: Sequence[OpenAnswer],
        answers_per_call: int,
        keep: Callable[[OpenAnswer, Entries, Share], None],
    ) -> None:
        """Read every answer, and `keep` what is said about it as soon as it is there."""

        async def one(group: Sequence[OpenAnswer]) -> None:
            # what the call for the group left unread is asked once more, each answer alone
            again = await self._ask(group, keep, last=False)
            alone = len(group) == 1  # then it is the same request, which a batch would answer with the same reply
            await asyncio.gather(*(self._ask([answer], keep, last=True, directly=alone) for answer in again))

        await asyncio.gather(*map(one, call_groups(answers, answers_per_call)))

    async def _ask(
        self,
        group: Sequence[OpenAnswer],
        keep: Callable[[OpenAnswer, Entries, Share], None],
        *,
        last: bool,
        directly: bool = False,
    ) -> Sequence[OpenAnswer]:
        """Make one call; return the answers that deserve another one, the rest is kept or counted as failed."""
        try:
            reply, call = await self._call(group, directly)
        except UnusableReply as error:
            self._record(error.call)
            hopeless = last or (error.code == "llm_refused" and len(group) == 1)
            return self._give_up(group, error.code, of_answer=True) if hopeless else group
        except VisibilityError as error:
            if isinstance(error, FatalError):
                self.fatal = error
            of_answer = isinstance(error, ItemError)
            return group if of_answer and len(group) > 1 else self._give_up(group, error.code, of_answer=of_answer)
        self._record(call)
        entries = usable_entries(reply, group)
        for (number, entry), share in zip(entries.items(), split_call(call, len(entries)), strict=True):
            keep(group[number - 1], entry, share)
        unread = [answer for number, answer in enumerate(group, 1) if number not in entries]
        return self._give_up(unread, "llm_incomplete", of_answer=True) if last else unread

    async def _call(self, group: Sequence[OpenAnswer], directly: bool) -> tuple[Reply[Entries], LlmCall]:
        prompt = load_prompt(self._kind.prompt)
        org = f"-{self._profile.org_id.hex[:8]}" if self._profile else ""
        return await self._client.parse(
            self._kind.purpose,
            self._kind.model(self._client.settings),
            prompt.text,
            reading_request(self._profile, group),
            self._kind.schema,
            cache_key=f"{prompt.name}-{prompt.digest}{org}",
            directly=directly,
        )

    def _record(self, call: LlmCall) -> None:
        org_id = self._profile.org_id if self._profile else None
        self.calls.append(replace(call, batch_id=self._batch_id, org_id=org_id))

    def _give_up(self, answers: Sequence[OpenAnswer], code: str, *, of_answer: bool) -> Sequence[OpenAnswer]:
        if answers:
            runs = [answer.answer.question_run_id for answer in answers]
            self.failed.update(dict.fromkeys(runs, Failure(code, of_answer)))
            log.warning(f"{self._kind.purpose}.failed", code=code, question_run_ids=[str(run) for run in runs])
        return ()


def usable_entries(reply: Reply[Entries], group: Sequence[OpenAnswer]) -> dict[int, Entries]:
    """Return the entries by answer number: the first of each that says what was asked for."""
    usable: dict[int, Entries] = {}
    for entry in reply.answers:
        if 1 <= entry.answer <= len(group) and entry.is_complete(evaluated=bool(group[entry.answer - 1].names)):
            usable.setdefault(entry.answer, entry)
    return usable


def split_call(call: LlmCall, parts: int) -> list[Share]:
    """Split a call's tokens and cost evenly; the sum is exact, to the token and to the millionth of a USD."""
    given, taken = _split(call.input_tokens, parts), _split(call.output_tokens, parts)
    micro_usd = _split(int(call.cost_usd / MICRO_USD), parts)
    return [Share(given[part], taken[part], micro_usd[part] * MICRO_USD) for part in range(parts)]


def _split(total: int, parts: int) -> list[int]:
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]
