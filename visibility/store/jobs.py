"""Provider jobs: `submitting → submitted → ready → fetched`, or `failed`, or `cancelled`.

Every move names the states it may start from, so that of two processes only one makes it; a move that closes
a job also moves its question runs, in the same transaction. `question_runs.status = 'asked'` therefore always
means: there is an open job that may still bring the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Float, cast, func, select, text, update
from sqlalchemy.orm import Session, aliased

from visibility.domain import Answer, QuestionRun, RunFailure
from visibility.store import runs
from visibility.store.runs import Stored
from visibility.store.tables import ProviderJob

OPEN = ("submitting", "submitted", "ready")


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as it stands; ages and the time left in seconds by the database's clock."""

    job_id: UUID
    provider: str
    dataset_id: str
    status: str
    snapshot_id: str | None
    submitter: str
    created_at: datetime
    submitted_at: datetime
    age_seconds: float
    seconds_left: float


def load(session: Session, job_id: UUID) -> JobRow:
    """Return one job; `age_seconds` counts from the last sign of life of a submission."""
    row = session.execute(
        select(
            ProviderJob.job_id,
            ProviderJob.provider,
            ProviderJob.dataset_id,
            ProviderJob.status,
            ProviderJob.snapshot_id,
            ProviderJob.submitter,
            ProviderJob.created_at,
            ProviderJob.submitted_at,
            _seconds(func.clock_timestamp() - ProviderJob.submitted_at).label("age_seconds"),
            _seconds(ProviderJob.deadline_at - func.clock_timestamp()).label("seconds_left"),
        ).where(ProviderJob.job_id == job_id)
    ).one()
    return JobRow(**row._mapping)


def load_with_runs(session: Session, job_id: UUID) -> tuple[JobRow, list[QuestionRun]]:
    """Return one job and the question runs that travel in it."""
    return load(session, job_id), runs.of_job(session, job_id)


def save_snapshot(session: Session, job_id: UUID, snapshot_id: str) -> bool:
    """Save the id that the vendor gave a submission; False when the job is not `submitting` any more.

    Also False when another job has the snapshot already.
    """
    other = aliased(ProviderJob)
    saved = session.execute(
        update(ProviderJob)
        .where(ProviderJob.job_id == job_id, ProviderJob.status == "submitting")
        .where(~select(other).where(other.snapshot_id == snapshot_id).exists())
        .values(status="submitted", snapshot_id=snapshot_id)
        .returning(ProviderJob.job_id)
    )
    return saved.one_or_none() is not None


def take(session: Session, job_id: UUID, submitter: str, from_submitter: str) -> bool:
    """Give a sign of life as the submitter, or take the submission over from another; False when it is lost to us."""
    taken = session.execute(
        update(ProviderJob)
        .where(
            ProviderJob.job_id == job_id, ProviderJob.status == "submitting", ProviderJob.submitter == from_submitter
        )
        .values(submitter=submitter, submitted_at=func.clock_timestamp())
        .returning(ProviderJob.job_id)
    )
    return taken.one_or_none() is not None


def mark_ready(session: Session, job_id: UUID) -> bool:
    """Note that the vendor has the answers, though they could not be fetched yet."""
    return _move(session, job_id, ("submitted",), status="ready")


def note(session: Session, job_id: UUID, error: str) -> bool:
    """Keep why an open job was left."""
    return _move(session, job_id, OPEN, error=error)


def known_snapshots(session: Session, snapshot_ids: Sequence[str]) -> set[str]:
    """Return those of the snapshot ids that a job has."""
    found = session.scalars(
        text("SELECT snapshot_id FROM provider_jobs WHERE snapshot_id = ANY(:ids)"), {"ids": list(snapshot_ids)}
    )
    return set(found)


def finish(
    session: Session, job_id: UUID, portions: Callable[[], Iterable[Sequence[Answer | RunFailure]]]
) -> list[Stored]:
    """Store what a job returned, portion by portion, and close it; return what this call stored.

    Nothing is read and returned when it was closed before.
    """
    if not _move(session, job_id, OPEN, status="fetched", fetched_at=func.now(), error=None):
        return []
    return [one for results in portions() for one in runs.save_results(session, job_id, results)]


def fail(session: Session, job_id: UUID, status: str, code: str, message: str) -> bool:
    """Close an accepted job that will bring nothing as `failed` or `cancelled`; its runs fail with the code."""
    if not _move(session, job_id, ("submitted", "ready"), status=status, error=message):
        return False
    runs.fail_asked(session, job_id, code, message, give_back=False)
    return True


def fail_unsubmitted(session: Session, job_id: UUID, submitter: str, code: str, message: str) -> bool:
    """Close a job that the vendor never accepted; its runs fail with the code and get their attempt back."""
    if not _close_unsubmitted(session, job_id, submitter, message):
        return False
    runs.fail_asked(session, job_id, code, message, give_back=True)
    return True


def give_up_unsubmitted(session: Session, job_id: UUID, submitter: str) -> bool:
    """Close a job that the vendor never accepted; its runs are pending again, with their attempt back."""
    if not _close_unsubmitted(session, job_id, submitter, "The vendor never accepted this job."):
        return False
    runs.release(session, job_id, None)
    return True


def _close_unsubmitted(session: Session, job_id: UUID, submitter: str, error: str) -> bool:
    closed = session.execute(
        update(ProviderJob)
        .where(ProviderJob.job_id == job_id, ProviderJob.status == "submitting", ProviderJob.submitter == submitter)
        .values(status="failed", error=error)
        .returning(ProviderJob.job_id)
    )
    return closed.one_or_none() is not None


def _move(session: Session, job_id: UUID, come_from: Sequence[str], **values: Any) -> bool:
    moved = session.execute(
        update(ProviderJob)
        .where(ProviderJob.job_id == job_id, ProviderJob.status.in_(come_from))
        .values(**values)
        .returning(ProviderJob.job_id)
    )
    return moved.one_or_none() is not None


def _seconds(interval: Any) -> Any:
    return cast(func.extract("epoch", interval), Float)
