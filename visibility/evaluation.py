"""Evaluate stored answers for one org: read, ground, store, chunk by chunk, all chunks at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import structlog

from visibility.arrivals import total
from visibility.domain import Evaluation, EvaluationCounts, LlmCall, OrgProfile
from visibility.errors import FatalError, ItemError, UnusableReply, VisibilityError
from visibility.grounding import Share, evaluate
from visibility.llm.catalog import MICRO_USD
from visibility.llm.client import LlmClient
from visibility.llm.prompts import load_prompt
from visibility.llm.replies import response_format
from visibility.reading import AnswerReading, OpenAnswer, Reading, call_groups, open_answer, reading_request
from visibility.settings import LlmSettings
from visibility.store.database import Database
from visibility.store.findings import Saved, load_answers, save_evaluations
from visibility.store.findings import unevaluated as unevaluated

CODE_VERSION = 1
"""Raised by hand when blocks, names, guards, rank or share of voice are computed differently."""

CHUNKS_IN_FLIGHT = 16

log = structlog.get_logger(__name__)


def extractor_version(settings: LlmSettings | None) -> str:
    """Return what produces evaluations: code, prompt and schema, model; without an LLM the rule alone."""
    if settings is None or not settings.configured:
        return f"{CODE_VERSION}-rule-only"
    prompt = load_prompt("reading")
    schema = json.dumps(response_format(Reading), sort_keys=True)
    digest = hashlib.sha256((prompt.text + schema).encode()).hexdigest()[:8]
    return f"{CODE_VERSION}.{prompt.version}-{digest}-{settings.evaluation_model}"


async def evaluate_stored(
    database: Database,
    client: LlmClient | None,
    profile: OrgProfile,
    batch_id: UUID,
    run_ids: Sequence[UUID],
    *,
    chunk: int,
    answers_per_call: int,
) -> EvaluationCounts:
    """Evaluate the runs that have no evaluation yet, and store `chunk` of them at a time.

    Without a client the rule alone decides. A failed answer is counted by its code and stops nothing. When the LLM
    refuses the account, what is finished is stored and the ProviderRefused is raised, with the counts as `counts`.
    """
    version = extractor_version(client.settings if client else None)
    limit = asyncio.Semaphore(CHUNKS_IN_FLIGHT)

    async def one(ids: Sequence[UUID]) -> tuple[EvaluationCounts, FatalError | None]:
        async with limit:
            answers = await database.run(load_answers, ids, profile.org_id, version)
            reader = Reader(client, profile, batch_id, version)
            # in a thread: a chunk of page-long texts would hold up every other org of this process
            opened = await asyncio.to_thread(lambda: [open_answer(answer, profile) for answer in answers])
            await reader.read_all(opened, answers_per_call)
            saved = await database.insist(save_evaluations, reader.evaluations, reader.calls)
        return _counts(reader, saved), reader.fatal

    chunks = [run_ids[start : start + chunk] for start in range(0, len(run_ids), chunk)]
    results = await asyncio.gather(*map(one, chunks), return_exceptions=True)
    return _finished(results)


class Reader:
    """Reads the answers of one chunk; collects evaluations, calls and failures, raises nothing of ours."""

    def __init__(self, client: LlmClient | None, profile: OrgProfile, batch_id: UUID, version: str) -> None:
        self._client, self._profile, self._batch_id, self._version = client, profile, batch_id, version
        self.evaluations: list[Evaluation] = []
        self.calls: list[LlmCall] = []
        self.failed: Counter[str] = Counter()
        self.fatal: FatalError | None = None

    async def read_all(self, answers: Sequence[OpenAnswer], answers_per_call: int) -> None:
        """Read every answer; those without a word need no call, without a client none do."""
        for answer in answers:
            if self._client is None or not answer.text.strip():
                self._keep(answer, None, Share())
        worded = [answer for answer in answers if self._client is not None and answer.text.strip()]
        await asyncio.gather(*(self._read(group) for group in call_groups(worded, answers_per_call)))

    async def _read(self, group: Sequence[OpenAnswer]) -> None:
        """Read a group in one call; what that left unread is asked once more, each answer alone."""
        again = await self._ask(group, last=False)
        await asyncio.gather(*(self._ask([answer], last=True) for answer in again))

    async def _ask(self, group: Sequence[OpenAnswer], *, last: bool) -> Sequence[OpenAnswer]:
        """Make one call; return the answers that deserve another one, the rest is kept or counted as failed."""
        try:
            reading, call = await self._call(group)
        except UnusableReply as error:
            self._record(error.call)
            hopeless = last or (error.code == "llm_refused" and len(group) == 1)
            return self._give_up(group, error.code) if hopeless else group
        except VisibilityError as error:
            if isinstance(error, FatalError):
                self.fatal = error
            one_is_bad = isinstance(error, ItemError) and len(group) > 1
            return group if one_is_bad else self._give_up(group, error.code)
        self._record(call)
        readings = usable_readings(reading, group)
        for (number, answer), share in zip(readings.items(), split_call(call, len(readings)), strict=True):
            self._keep(group[number - 1], answer, share)
        unread = [answer for number, answer in enumerate(group, 1) if number not in readings]
        return self._give_up(unread, "llm_incomplete") if last else unread

    async def _call(self, group: Sequence[OpenAnswer]) -> tuple[Reading, LlmCall]:
        assert self._client is not None
        prompt = load_prompt("reading")
        return await self._client.parse(
            "evaluation",
            self._client.settings.evaluation_model,
            prompt.text,
            reading_request(self._profile, group),
            Reading,
            cache_key=f"reading-{prompt.digest}-{self._profile.org_id.hex[:8]}",
        )

    def _record(self, call: LlmCall) -> None:
        self.calls.append(replace(call, batch_id=self._batch_id, org_id=self._profile.org_id))

    def _keep(self, answer: OpenAnswer, reading: AnswerReading | None, share: Share) -> None:
        self.evaluations.append(evaluate(answer, reading, self._profile, self._version, share))

    def _give_up(self, answers: Sequence[OpenAnswer], code: str) -> Sequence[OpenAnswer]:
        if answers:
            self.failed[code] += len(answers)
            runs = [str(answer.answer.question_run_id) for answer in answers]
            log.warning("evaluation.failed", code=code, question_run_ids=runs)
        return ()


def usable_readings(reading: Reading, group: Sequence[OpenAnswer]) -> dict[int, AnswerReading]:
    """Return the replies by answer number: the first of each, and with an evaluation where one was asked for."""
    usable: dict[int, AnswerReading] = {}
    for reply in reading.answers:
        if 1 <= reply.answer <= len(group) and (reply.evaluation or not group[reply.answer - 1].names):
            usable.setdefault(reply.answer, reply)
    return usable


def split_call(call: LlmCall, parts: int) -> list[Share]:
    """Split a call's tokens and cost evenly; the sum is exact, to the token and to the millionth of a USD."""
    given, taken = _split(call.input_tokens, parts), _split(call.output_tokens, parts)
    micro_usd = _split(int(call.cost_usd / MICRO_USD), parts)
    return [Share(given[part], taken[part], micro_usd[part] * MICRO_USD) for part in range(parts)]


def _split(total: int, parts: int) -> list[int]:
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


def _counts(reader: Reader, saved: Saved) -> EvaluationCounts:
    """Count one chunk; what another process had stored already is not counted as evaluated here."""
    new = [evaluation for evaluation in reader.evaluations if evaluation.question_run_id in saved.question_run_ids]
    return EvaluationCounts(
        evaluated=len(new),
        mentioned=sum(evaluation.mentioned for evaluation in new),
        competitors=saved.competitors,
        citations=saved.citations,
        failed=dict(reader.failed),
        llm_calls=len(reader.calls),
        cost_usd=sum((call.cost_usd for call in reader.calls), Decimal(0)),
    )


def _finished(results: Sequence[tuple[EvaluationCounts, FatalError | None] | BaseException]) -> EvaluationCounts:
    """Return the sum of the chunks, all of which have ended; raise what stopped one of them."""
    finished = [result for result in results if not isinstance(result, BaseException)]
    counts = total([counts for counts, _ in finished])
    for result in results:
        if isinstance(result, BaseException):
            raise result
    for _, fatal in finished:
        if fatal is not None:
            fatal.counts = counts  # type: ignore[attr-defined]  # travels with the pickled error
            raise fatal
    return counts
