"""Evaluate stored answers for one org: read, ground, store, chunk by chunk, all chunks at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from visibility.arrivals import total
from visibility.calls import MENTION, READING, Reader
from visibility.domain import Evaluation, EvaluationCounts, LlmCall, OrgProfile, StoredAnswer
from visibility.errors import FatalError
from visibility.grounding import Share, evaluate, evaluation_of, verdict_of
from visibility.llm.client import LlmClient
from visibility.reading import AnswerMention, AnswerReading, OpenAnswer, open_answer
from visibility.shared_brands import BrandsRead, SharedBrands
from visibility.store.database import Database
from visibility.store.findings import Saved, load_answers, save_evaluations
from visibility.store.findings import unevaluated as unevaluated
from visibility.versions import extractor_version as extractor_version

CHUNKS_IN_FLIGHT = 16


async def evaluate_stored(
    database: Database,
    client: LlmClient | None,
    profile: OrgProfile,
    batch_id: UUID,
    run_ids: Sequence[UUID],
    *,
    chunk: int,
    answers_per_call: int,
    brands: SharedBrands | None = None,
) -> EvaluationCounts:
    """Evaluate the runs that have no evaluation yet, and store `chunk` of them at a time.

    Brands and evaluation are read together, or, where other orgs share the answers, the brands come from `brands`
    and the LLM is only asked where a name of the org stands. Without a client the rule alone decides. A failed answer
    is counted by its code and stops nothing. When the LLM refuses the account, what is finished is stored and the
    ProviderRefused is raised, with the counts as `counts`.
    """
    version = extractor_version(client.settings if client else None)
    limit = asyncio.Semaphore(CHUNKS_IN_FLIGHT)

    async def one(ids: Sequence[UUID]) -> tuple[EvaluationCounts, FatalError | None]:
        async with limit:
            current = brands.version if brands else None
            answers = await database.run(load_answers, ids, profile.org_id, version, current)
            reading = ChunkReading(client, profile, batch_id, version, answers_per_call)
            await (reading.read_shared(answers, brands) if brands else reading.read_jointly(answers))
            # by rule alone no brands are read: what others have read stays
            outdated = [answer.question_run_id for answer in answers if answer.brands] if client else []
            saved = await database.insist(
                save_evaluations,
                reading.evaluations,
                reading.calls,
                shared_brands=brands is not None,
                outdated_brands=outdated,
            )
        return _counts(reading, saved), reading.fatal

    chunks = [run_ids[start : start + chunk] for start in range(0, len(run_ids), chunk)]
    results = await asyncio.gather(*map(one, chunks), return_exceptions=True)
    return _finished(results)


class ChunkReading:
    """Reads the answers of one chunk for an org; collects evaluations, calls and failures, raises nothing of the LLM's.

    `calls` are to be stored with the evaluations, `brand_calls` are stored already.
    """

    def __init__(
        self, client: LlmClient | None, profile: OrgProfile, batch_id: UUID, version: str, answers_per_call: int
    ) -> None:
        self._client, self._profile, self._batch_id, self._version = client, profile, batch_id, version
        self._answers_per_call = answers_per_call
        self.evaluations: list[Evaluation] = []
        self.calls: list[LlmCall] = []
        self.brand_calls: list[LlmCall] = []
        self.failed: dict[UUID, str] = {}
        self.fatal: FatalError | None = None

    async def read_jointly(self, answers: Sequence[StoredAnswer]) -> None:
        """Read every answer; those without a word need no call, without a client none do."""
        opened = await self._opened(answers)
        worded = [answer for answer in opened if self._client is not None and answer.text.strip()]
        for answer in opened:
            if self._client is None or not answer.text.strip():
                self._keep(answer, None, Share())
        if self._client is not None:
            reader = Reader(self._client, READING, self._batch_id, self._profile)
            await reader.read(worded, self._answers_per_call, self._keep)
            self._account_for(reader)

    async def read_shared(self, answers: Sequence[StoredAnswer], brands: SharedBrands) -> None:
        """Evaluate every answer whose brands others may have read; its two calls are made at the same time.

        None is made for an answer whose brands this process could not read.
        """
        self.failed.update(brands.given_up(answers))
        answers = [answer for answer in answers if answer.question_run_id not in self.failed]
        named = brands.of(answers, self._batch_id, answers_per_call=self._answers_per_call)
        read, (opened, mentions) = await asyncio.gather(named, self._read_mentions(answers))
        self.failed.update(read.failed)
        self.fatal = self.fatal or read.fatal
        self.brand_calls = read.calls
        ready = [answer for answer in opened if answer.answer.question_run_id not in self.failed]
        self.evaluations = await asyncio.to_thread(lambda: [self._combined(one, mentions, read) for one in ready])

    async def _read_mentions(
        self, answers: Sequence[StoredAnswer]
    ) -> tuple[list[OpenAnswer], dict[UUID, tuple[AnswerMention, Share]]]:
        """Ask about the answers in which a name of the org stands."""
        assert self._client is not None
        opened = await self._opened(answers)
        mentions: dict[UUID, tuple[AnswerMention, Share]] = {}

        def keep(answer: OpenAnswer, entry: AnswerMention, share: Share) -> None:
            mentions[answer.answer.question_run_id] = entry, share

        reader = Reader(self._client, MENTION, self._batch_id, self._profile)
        await reader.read([answer for answer in opened if answer.names], self._answers_per_call, keep)
        self._account_for(reader)
        return opened, mentions

    async def _opened(self, answers: Sequence[StoredAnswer]) -> list[OpenAnswer]:
        """In a thread: a chunk of page-long texts would hold up every other org of this process."""
        return await asyncio.to_thread(lambda: [open_answer(answer, self._profile) for answer in answers])

    def _combined(
        self, opened: OpenAnswer, mentions: dict[UUID, tuple[AnswerMention, Share]], read: BrandsRead
    ) -> Evaluation:
        run_id = opened.answer.question_run_id
        mention, share = mentions.get(run_id, (None, Share()))
        verdict = verdict_of(opened, mention.evaluation if mention else None)
        return evaluation_of(opened, verdict, read.brands[run_id], self._profile, self._version, share)

    def _keep(self, answer: OpenAnswer, reading: AnswerReading | None, share: Share) -> None:
        self.evaluations.append(evaluate(answer, reading, self._profile, self._version, share))

    def _account_for(self, reader: Reader[AnswerReading] | Reader[AnswerMention]) -> None:
        self.calls = reader.calls
        self.failed.update((run_id, failure.code) for run_id, failure in reader.failed.items())
        self.fatal = reader.fatal


def _counts(reading: ChunkReading, saved: Saved) -> EvaluationCounts:
    """Count one chunk; what another process had stored already is not counted as evaluated here."""
    new = [evaluation for evaluation in reading.evaluations if evaluation.question_run_id in saved.question_run_ids]
    calls = [*reading.calls, *reading.brand_calls]
    return EvaluationCounts(
        evaluated=len(new),
        mentioned=sum(evaluation.mentioned for evaluation in new),
        competitors=saved.competitors,
        citations=saved.citations,
        failed=dict(Counter(reading.failed.values())),
        llm_calls=len(calls),
        cost_usd=sum((call.cost_usd for call in calls), Decimal(0)),
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
