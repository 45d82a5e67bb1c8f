"""Question runs: claimed for a job, answered, failed, given back; every function is one statement."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.domain import Answer, Location, QuestionRun, RunFailure
from visibility.store.batches import PERMANENT_ERRORS

Pair = tuple[UUID, str]  # batch and model: what one asker asks for

# A failed run is asked again when its error may pass and it has attempts left.
_CLAIMABLE = """
    run.attempts < :max_attempts
    AND (run.status = 'pending' OR run.status = 'failed' AND run.error_code <> ALL(:permanent))
    AND run.question_run_id <> ALL(CAST(:excluded AS uuid[]))
"""


@dataclass(frozen=True, slots=True)
class NewJob:
    """The provider job that a claim inserts; `deadline_seconds` from now."""

    job_id: UUID
    provider: str
    dataset_id: str
    submitter: str
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one model of a batch is; `claimable` may be asked now, `open_jobs` may still bring answers."""

    expected: int = 0
    answered: int = 0
    claimable: int = 0
    failed: Mapping[str, int] | None = None
    open_jobs: frozenset[UUID] = frozenset()
    jobs: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Stored:
    """A question run as a job left it."""

    question_run_id: UUID
    batch_id: UUID
    model: str
    status: str


def progress(session: Session, pair: Pair, max_attempts: int, excluded: Collection[UUID] = ()) -> Progress:
    """Count the runs of one model of a batch; runs not answered yet count under `left_open` or `not_asked`."""
    rows = session.execute(
        _PROGRESS, {"batch_id": pair[0], "model": pair[1], **_claimable(max_attempts, excluded)}
    ).all()
    failed: dict[str, int] = {}
    for row in rows:
        if row.status != "answered":
            code = {"failed": row.error_code, "asked": "left_open"}.get(row.status, "not_asked")
            failed[code] = failed.get(code, 0) + row.runs
    return Progress(
        expected=sum(row.runs for row in rows),
        answered=sum(row.runs for row in rows if row.status == "answered"),
        claimable=sum(row.claimable for row in rows),
        failed=failed,
        open_jobs=frozenset(row.provider_job_id for row in rows if row.status == "asked" and row.provider_job_id),
        jobs=len({row.provider_job_id for row in rows} - {None}),
        cost_usd=sum((row.cost_usd for row in rows), start=Decimal(0)),
    )


_PROGRESS = text(
    f"""
    SELECT status, error_code, provider_job_id, count(*) AS runs, sum(cost_usd) AS cost_usd,
           count(*) FILTER (WHERE {_CLAIMABLE}) AS claimable
    FROM question_runs run
    WHERE batch_id = :batch_id AND model = :model
    GROUP BY status, error_code, provider_job_id
    """
)


def claim(
    session: Session,
    job: NewJob,
    pairs: Sequence[Pair],
    *,
    limit: int,
    turn: int,
    max_attempts: int,
    excluded: Collection[UUID] = (),
) -> list[QuestionRun]:
    """Insert the job and mark up to `limit` runs as asked in it; no run, no job.

    The pairs take turns, in their order: `turn` runs of each, then the next `turn` of each, until the job is full.
    Runs that another process is claiming at this moment are passed over.
    """
    pairs = list(dict.fromkeys(pairs))
    rows = session.execute(
        _CLAIM,
        {
            "batch_ids": [str(batch_id) for batch_id, _ in pairs],
            "models": [model for _, model in pairs],
            "limit": limit,
            "turn": turn,
            "job_id": job.job_id,
            "provider": job.provider,
            "dataset_id": job.dataset_id,
            "submitter": job.submitter,
            "deadline_seconds": job.deadline_seconds,
            **_claimable(max_attempts, excluded),
        },
    )
    return [_question_run(row) for row in rows]


_CLAIM = text(
    f"""
    WITH numbered AS (
        SELECT run.question_run_id, pair.place,
               row_number() OVER (PARTITION BY pair.place ORDER BY run.question_run_id) - 1 AS before
        FROM question_runs run
        JOIN unnest(CAST(:batch_ids AS uuid[]), CAST(:models AS text[])) WITH ORDINALITY
            AS pair (batch_id, model, place) ON run.batch_id = pair.batch_id AND run.model = pair.model
        WHERE {_CLAIMABLE}
    ), picked AS MATERIALIZED (
        SELECT run.question_run_id
        FROM numbered JOIN question_runs run USING (question_run_id)
        WHERE {_CLAIMABLE}  -- again: the row may have changed since it was numbered
        ORDER BY numbered.before / :turn, numbered.place, run.question_run_id
        LIMIT :limit
        FOR UPDATE OF run SKIP LOCKED
    ), job AS (
        INSERT INTO provider_jobs (job_id, provider, dataset_id, submitter, input_count, deadline_at)
        SELECT :job_id, :provider, :dataset_id, :submitter, count(*), now() + make_interval(secs => :deadline_seconds)
        FROM picked HAVING count(*) > 0
        RETURNING job_id
    )
    UPDATE question_runs run
    SET status = 'asked', provider = :provider, provider_job_id = job.job_id, attempts = run.attempts + 1,
        asked_at = now(), error_code = NULL, error_message = NULL
    FROM picked, job, geo_questions question
    WHERE run.question_run_id = picked.question_run_id AND question.question_id = run.question_id
    RETURNING run.question_run_id, run.batch_id, run.model, run.country_code, run.region_name, run.city,
              run.replicate, run.attempts, question.question_text
    """
)


def of_job(session: Session, job_id: UUID) -> list[QuestionRun]:
    """Return the question runs that travel in a job."""
    return [_question_run(row) for row in session.execute(_OF_JOB, {"job_id": job_id})]


_OF_JOB = text(
    """
    SELECT run.question_run_id, run.batch_id, run.model, run.country_code, run.region_name, run.city,
           run.replicate, run.attempts, question.question_text
    FROM question_runs run JOIN geo_questions question USING (question_id)
    WHERE run.provider_job_id = :job_id
    """
)


def statuses_of_job(session: Session, job_id: UUID) -> list[Stored]:
    """Return how the question runs of a job stand."""
    rows = session.execute(
        text("SELECT question_run_id, batch_id, model, status FROM question_runs WHERE provider_job_id = :job_id"),
        {"job_id": job_id},
    )
    return [Stored(*row) for row in rows]


def save_results(session: Session, job_id: UUID, results: Iterable[Answer | RunFailure]) -> list[Stored]:
    """Store answers and failures of runs that are still asked in this job; return those that were stored."""
    rows = session.execute(_SAVE_RESULTS, {"job_id": job_id, "results": json.dumps([_row(one) for one in results])})
    return [Stored(*row) for row in rows]


_SAVE_RESULTS = text(
    """
    UPDATE question_runs run
    SET status = result.status, error_code = result.error_code, error_message = result.error_message,
        response_text = result.response_text, answered_by = result.answered_by, grounded = result.grounded,
        provider_sources = result.provider_sources, applied_country = result.applied_country,
        input_tokens = result.input_tokens, output_tokens = result.output_tokens, cost_usd = result.cost_usd,
        answered_at = CASE WHEN result.status = 'answered' THEN now() END
    FROM jsonb_to_recordset(CAST(:results AS jsonb)) AS result (
        question_run_id uuid, status text, error_code text, error_message text, response_text text, answered_by text,
        grounded boolean, provider_sources jsonb, applied_country text, input_tokens integer, output_tokens integer,
        cost_usd numeric)
    WHERE run.question_run_id = result.question_run_id AND run.provider_job_id = :job_id AND run.status = 'asked'
    RETURNING run.question_run_id, run.batch_id, run.model, run.status
    """
)


def fail_asked(session: Session, job_id: UUID, code: str, message: str, *, give_back: bool) -> None:
    """Fail every run that is still asked in a job; `give_back` when the vendor was never asked."""
    session.execute(
        text(
            """
            UPDATE question_runs
            SET status = 'failed', error_code = :code, error_message = :message, attempts = attempts - :returned
            WHERE provider_job_id = :job_id AND status = 'asked'
            """
        ),
        {"job_id": job_id, "code": code, "message": message, "returned": int(give_back)},
    )


def drop(session: Session, job_id: UUID, failures: Sequence[RunFailure]) -> None:
    """Fail some runs of a job before it is accepted, with their attempt back; they leave the job."""
    session.execute(_DROP, {"job_id": job_id, "failures": json.dumps([_row(one) for one in failures])})


_DROP = text(
    """
    UPDATE question_runs run
    SET status = 'failed', error_code = failure.error_code, error_message = failure.error_message,
        provider_job_id = NULL, attempts = run.attempts - 1
    FROM jsonb_to_recordset(CAST(:failures AS jsonb)) AS failure (
        question_run_id uuid, error_code text, error_message text)
    WHERE run.question_run_id = failure.question_run_id AND run.provider_job_id = :job_id AND run.status = 'asked'
    """
)


def release(session: Session, job_id: UUID, run_ids: Sequence[UUID] | None) -> None:
    """Set runs of a job that was never accepted (all, or some) pending again, with their attempt back."""
    session.execute(
        text(
            """
            UPDATE question_runs
            SET status = 'pending', provider_job_id = NULL, attempts = attempts - 1, asked_at = NULL
            WHERE provider_job_id = :job_id AND status = 'asked'
              AND (:everyone OR question_run_id = ANY(CAST(:run_ids AS uuid[])))
            """
        ),
        {"job_id": job_id, "everyone": run_ids is None, "run_ids": [str(run_id) for run_id in run_ids or ()]},
    )


def fail_claimable(session: Session, pair: Pair, code: str, message: str, max_attempts: int) -> None:
    """Fail every run that could be asked now, without asking it."""
    session.execute(
        _FAIL_CLAIMABLE,
        {"batch_id": pair[0], "model": pair[1], "code": code, "message": message, **_claimable(max_attempts, ())},
    )


_FAIL_CLAIMABLE = text(
    f"""
    UPDATE question_runs run SET status = 'failed', error_code = :code, error_message = :message
    WHERE batch_id = :batch_id AND model = :model AND {_CLAIMABLE}
    """
)


def _claimable(max_attempts: int, excluded: Collection[UUID]) -> dict[str, Any]:
    return {
        "max_attempts": max_attempts,
        "permanent": list(PERMANENT_ERRORS),
        "excluded": [str(run_id) for run_id in excluded],
    }


def _question_run(row: Row[Any]) -> QuestionRun:
    location = Location(row.country_code, row.region_name, row.city)
    return QuestionRun(
        row.question_run_id, row.batch_id, row.question_text, row.model, location, row.attempts, row.replicate
    )


def _row(result: Answer | RunFailure) -> dict[str, Any]:
    if isinstance(result, RunFailure):
        return {
            "question_run_id": str(result.question_run_id),
            "status": "failed",
            "error_code": result.error_code,
            "error_message": result.error_message,
            "cost_usd": "0",
        }
    return {
        "question_run_id": str(result.question_run_id),
        "status": "answered",
        "response_text": result.response_text,
        "answered_by": result.answered_by,
        "grounded": result.grounded,
        "provider_sources": result.provider_sources,
        "applied_country": result.applied_country,
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "cost_usd": str(result.cost_usd),
    }
