"""Read answers: one model's of a batch as they are stored, or what a network has asked already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from tasks.artifacts import Progress
from tasks.resources import current
from tasks.retries import is_retryable
from visibility.arrivals import Arrivals, evaluate_arrivals, total, total_of
from visibility.batches import OpenBatch
from visibility.domain import EvaluationCounts, OrgProfile
from visibility.evaluation import evaluate_stored
from visibility.networks import OpenReading
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
    progress = await Progress.begin(f"answers of {model} read", expected, sandbox=current().settings.sandbox)
    batch_id = batch.batch_id

    async def show(counts: EvaluationCounts) -> None:
        await progress.advance(counts.evaluated)
        get_run_logger().info(
            "%s: %s of %s answers read, %s of these %s name the org",
            model, progress.done, expected, counts.mentioned, counts.evaluated,
        )  # fmt: skip

    again = (task_run.run_count or 1) > 1
    first = await _waiting(batch_id, model, profile) if again or batch.progress.unevaluated else []
    counts = await evaluate_arrivals(first, arrivals, lambda ids: read_answers(batch_id, profile, ids), show)
    if counts.failed or again or batch.progress.status != "pending":
        rest = await read_answers(batch_id, profile, await _waiting(batch_id, model, profile))
        await show(rest)
        counts = total([replace(counts, failed={}), rest])
    await progress.finish()
    return counts


@task(
    name="evaluate missing",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def evaluate_missing(reading: OpenReading, profile: OrgProfile) -> EvaluationCounts:
    """Evaluate what an org's network has asked, all answers at once; failed ones are tried once more.

    The brands of an answer are read once for all orgs of the network, by whoever comes first.
    """
    counts = await _read_batches(reading, profile)
    if counts.failed:
        rest = await _read_batches(reading, profile)
        counts = total([replace(counts, failed={}), rest])
    get_run_logger().info(
        "%s of %s answers read, %s of these name the org", counts.evaluated, reading.runs, counts.mentioned
    )
    return counts


async def _read_batches(reading: OpenReading, profile: OrgProfile) -> EvaluationCounts:
    """Evaluate what is still missing of every batch; what is stored already is passed over.

    The first error is raised after all batches have ended: what they have read is charged next.
    """
    read = [read_answers(batch.batch_id, profile, batch.run_ids, shared=True) for batch in reading.missing]
    return await total_of(read)


async def _waiting(batch_id: UUID, model: str, profile: OrgProfile) -> list[UUID]:
    resources = current()
    return await resources.database.run(unevaluated, batch_id, profile.org_id, model, resources.extractor_version)


async def read_answers(
    batch_id: UUID, profile: OrgProfile, question_run_ids: Sequence[UUID], *, shared: bool = False
) -> EvaluationCounts:
    """Evaluate answers for an org; `shared`: other orgs are evaluated on them too."""
    resources = current()
    return await evaluate_stored(
        resources.database,
        resources.llm,
        profile,
        batch_id,
        question_run_ids,
        chunk=resources.settings.evaluation_chunk,
        answers_per_call=resources.settings.llm.answers_per_call,
        brands=resources.brands if shared else None,
    )
