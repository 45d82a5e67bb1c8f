"""Reading the labelled set exactly as the product does, so many answers per call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast
from uuid import UUID

from evals.labelled import LabelledOrg
from visibility.brands import find_brands
from visibility.calls import BRANDS, Reader
from visibility.domain import Brand, Evaluation, LlmCall, StoredAnswer
from visibility.errors import FatalError
from visibility.evaluation import ChunkReading
from visibility.grounding import Share
from visibility.llm.client import LlmClient
from visibility.reading import AnswerBrands, OpenAnswer
from visibility.shared_brands import BrandsRead, SharedBrands

Way = Literal["joint", "apart"]
NO_BATCH = UUID(int=0)


@dataclass(frozen=True, slots=True)
class SetReading:
    """What was found in the set, and what it took."""

    evaluations: dict[UUID, Evaluation]
    calls: list[LlmCall]
    failed: dict[UUID, str]


class UnstoredBrands:
    """Brands of answers that orgs share, as `SharedBrands` reads them, kept nowhere."""

    def __init__(self, client: LlmClient) -> None:
        self._client = client

    def given_up(self, answers: Sequence[StoredAnswer]) -> dict[UUID, str]:
        """Return none: nothing was tried before."""
        return {}

    async def of(self, answers: Sequence[StoredAnswer], batch_id: UUID, *, answers_per_call: int) -> BrandsRead:
        """Return the brands of the answers."""
        reader = Reader(self._client, BRANDS, batch_id)
        found: dict[UUID, tuple[Brand, ...]] = {}

        def keep(answer: OpenAnswer, entry: AnswerBrands, _share: Share) -> None:
            found[answer.answer.question_run_id] = find_brands(answer.text, entry.brands)

        await reader.read([OpenAnswer(answer, (), ()) for answer in answers], answers_per_call, keep)
        failed = {run_id: failure.code for run_id, failure in reader.failed.items()}
        return BrandsRead(found, failed, reader.fatal, reader.calls)


async def read_set(client: LlmClient, orgs: Sequence[LabelledOrg], way: Way, answers_per_call: int) -> SetReading:
    """Read every answer for its org: brands and evaluation in one call (`joint`), or each in its own (`apart`).

    Raises ProviderRefused where the account is refused.
    """
    chunks = await asyncio.gather(*(_read(client, org, way, answers_per_call) for org in orgs))
    for chunk in chunks:
        if isinstance(chunk.fatal, FatalError):
            raise chunk.fatal
    return SetReading(
        {one.question_run_id: one for chunk in chunks for one in chunk.evaluations},
        [call for chunk in chunks for call in (*chunk.calls, *chunk.brand_calls)],
        {run_id: code for chunk in chunks for run_id, code in chunk.failed.items()},
    )


async def _read(client: LlmClient, org: LabelledOrg, way: Way, answers_per_call: int) -> ChunkReading:
    reading = ChunkReading(client, org.profile, NO_BATCH, "evals", answers_per_call)
    answers = [case.answer for case in org.cases]
    if way == "joint":
        await reading.read_jointly(answers)
    else:
        await reading.read_shared(answers, cast(SharedBrands, UnstoredBrands(client)))
    return reading
