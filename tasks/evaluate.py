"""Read one model's answers as they are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.artifacts import ModelProgress
from tasks.resources import current
from tasks.retries import is_retryable
from visibility.arrivals import Arrivals, evaluate_arrivals, total
from visibility.batches import OpenBatch
from visibility.domain import EvaluationCounts, OrgProfile
from visibility.evaluation import evaluate_stored
from visibility.store.findings import unevaluated


@task(
    name="evaluate answers",
    task_run_name="evaluate {model}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def evaluate_answers(batch: OpenBatch, model: str, profile: OrgProfile, arrivals: Arrivals) -> EvaluationCounts:
    """Evaluate what is stored already, then every answer as it arrives; failed ones are tried once more.

    On a batch that was begun before, another process may store answers of a common vendor job without a word
    to this one: they are looked for at the end.
    """
    expected = batch.progress.expected // len(batch.models)
    asyncio.get_running_loop().run_in_executor(None, import_module, "pandas")  # a second, spent while vendors work
    progress = await ModelProgress.begin(model, expected, sandbox=current().settings.sandbox)
    batch_id = batch.batch_id
    again = (task_run.run_count or 1) > 1
    first = await _waiting(batch_id, model, profile) if again or batch.progress.unevaluated else []
    counts = await evaluate_arrivals(first, arrivals, lambda ids: _read(batch_id, profile, ids), progress.advance)
    if counts.failed or again or batch.progress.status != "pending":
        rest = await _read(batch_id, profile, await _waiting(batch_id, model, profile))
        await progress.advance(rest)
        counts = total([replace(counts, failed={}), rest])
    await progress.finish()
    return counts


async def _waiting(batch_id: UUID, model: str, profile: OrgProfile) -> list[UUID]:
    resources = current()
    return await resources.database.run(unevaluated, batch_id, profile.org_id, model, resources.extractor_version)


async def _read(batch_id: UUID, profile: OrgProfile, question_run_ids: Sequence[UUID]) -> EvaluationCounts:
    resources = current()
    return await evaluate_stored(
        resources.database,
        resources.llm,
        profile,
        batch_id,
        question_run_ids,
        chunk=resources.settings.evaluation_chunk,
        answers_per_call=resources.settings.llm.answers_per_call,
    )
