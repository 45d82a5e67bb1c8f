"""Batches: one row per (scope, owner, UTC date), its manifest, its lease, its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import exists, func, select, text, update
from sqlalchemy.orm import Session

from visibility.domain import BatchKey, Location, Question
from visibility.errors import LeaseLost
from visibility.store.tables import Batch

PERMANENT_ERRORS = (
    "bad_input",
    "unsupported_country",
    "unsupported_model",
    "provider_not_configured",
    "content_refused",
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Opening:
    """Who opens a batch and why; `lease_owner` is the name others check for life."""

    key: BatchKey
    lease_owner: str
    lease_seconds: float
    triggered_by: str
    user_id: str | None = None
    flow_run_id: UUID | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """Result of asking for a batch: ours when `taken`, else the holder who has it."""

    batch_id: UUID
    taken: bool
    holder: str | None
    sandbox: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of a batch's question runs for one org at one extractor version; `models` are those of its manifest."""

    status: str
    expected: int
    open: int
    answered: int
    failed: int
    failed_retryable: int
    unevaluated: int
    uncharged: int
    models: Sequence[str]

    @property
    def nothing_left(self) -> bool:
        """True when no run is to be asked, no answer to be read and nothing to be charged."""
        return not (self.open or self.failed_retryable or self.unevaluated or self.uncharged)


def take_lease(session: Session, opening: Opening, *, dead_holder: str | None = None) -> Lease:
    """Insert or find the batch and take its lease when it is free, lapsed, ours, or `dead_holder`'s."""
    taken = session.execute(_TAKE_LEASE, _lease_parameters(opening, dead_holder)).one_or_none()
    if taken is not None:
        return Lease(taken.batch_id, True, opening.lease_owner, taken.sandbox)
    held = session.execute(
        _FIND, {"scope": opening.key.scope, "owner_id": opening.key.owner_id, "run_date": opening.key.run_date}
    ).one()
    return Lease(held.batch_id, False, held.lease_owner, held.sandbox)


_TAKE_LEASE = text(
    """
    INSERT INTO evaluation_batches AS batch
        (scope, org_id, network_id, run_date, trigger, triggered_by, user_id, flow_run_id, sandbox,
         lease_owner, lease_expires_at)
    VALUES (:scope, :org_id, :network_id, :run_date, :trigger, :triggered_by, :user_id, :flow_run_id, :sandbox,
            :lease_owner, now() + make_interval(secs => :lease_seconds))
    ON CONFLICT (scope, coalesce(org_id, network_id), run_date) DO UPDATE
        SET lease_owner = excluded.lease_owner, lease_expires_at = excluded.lease_expires_at,
            flow_run_id = excluded.flow_run_id
        WHERE batch.lease_owner IS NULL OR batch.lease_expires_at < now()
           OR batch.lease_owner IN (excluded.lease_owner, :dead_holder)
    RETURNING batch_id, sandbox
    """
)
_FIND = text(
    """
    SELECT batch_id, lease_owner, sandbox FROM evaluation_batches
    WHERE scope = :scope AND coalesce(org_id, network_id) = :owner_id AND run_date = :run_date
    """
)
KNOWN_TRIGGERS = ("manual", "deployment", "schedule", "network", "reconcile")


def _lease_parameters(opening: Opening, dead_holder: str | None) -> dict[str, Any]:
    owner = {"org": None, "network": None, opening.key.scope: opening.key.owner_id}
    return {
        "scope": opening.key.scope,
        "org_id": owner["org"],
        "network_id": owner["network"],
        "run_date": opening.key.run_date,
        "trigger": opening.triggered_by if opening.triggered_by in KNOWN_TRIGGERS else "manual",
        "triggered_by": opening.triggered_by,
        "user_id": opening.user_id,
        "flow_run_id": opening.flow_run_id,
        "sandbox": opening.sandbox,
        "lease_owner": opening.lease_owner,
        "lease_seconds": opening.lease_seconds,
        "dead_holder": dead_holder,
    }


def holds_real_batches(session: Session) -> bool:
    """Return whether any batch of this database was asked of real vendors."""
    return bool(session.scalar(select(exists().where(Batch.sandbox.is_(False)))))


Manifest = list[tuple[Question, str, Location, int]]


def write_manifest(session: Session, batch_id: UUID, manifest: Manifest) -> None:
    """Insert the expected runs that are not there yet, in one statement; existing rows stay as they are."""
    if not manifest:
        return
    session.execute(
        _WRITE_MANIFEST,
        {
            "batch_id": batch_id,
            "questions": [str(question.question_id) for question, *_ in manifest],
            "models": [model for _, model, _, _ in manifest],
            "countries": [location.country_code for _, _, location, _ in manifest],
            "regions": [location.region_name for _, _, location, _ in manifest],
            "cities": [location.city for _, _, location, _ in manifest],
            "replicates": [replicate for *_, replicate in manifest],
        },
    )


_WRITE_MANIFEST = text(
    """
    INSERT INTO question_runs (batch_id, question_id, model, country_code, region_name, city, replicate)
    SELECT :batch_id, * FROM unnest(
        CAST(:questions AS uuid[]), CAST(:models AS text[]), CAST(:countries AS text[]),
        CAST(:regions AS text[]), CAST(:cities AS text[]), CAST(:replicates AS smallint[]))
    ON CONFLICT DO NOTHING
    """
)


def renew_lease(session: Session, batch_id: UUID, owner: str, seconds: float) -> bool:
    """Prolong our lease; False when another has taken the batch over."""
    renewed = session.execute(
        update(Batch)
        .where(Batch.batch_id == batch_id, Batch.lease_owner == owner)
        .values(lease_expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds))
        .returning(Batch.batch_id)
    )
    return renewed.one_or_none() is not None


def with_lease(
    session: Session,
    batch_id: UUID,
    owner: str,
    work: Callable[Concatenate[Session, UUID, Arguments], Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    """Do `work(session, batch_id, …)`; nobody can take the batch over before this transaction ends.

    Raises LeaseLost when somebody has: a process that was asleep must not reserve or charge beside its successor.
    """
    ours = select(Batch.batch_id).where(Batch.batch_id == batch_id, Batch.lease_owner == owner)
    if session.execute(ours.with_for_update(key_share=True)).one_or_none() is None:
        raise lease_lost(batch_id)
    return work(session, batch_id, *args, **kwargs)


def lease_lost(batch_id: UUID) -> LeaseLost:
    """Return the error that stops a flow whose batch another one works on."""
    return LeaseLost(f"Another flow has taken over batch {batch_id}; this one stopped.")


def start(session: Session, batch_id: UUID, owner: str) -> None:
    """Set the batch running, also a failed or completed one that has work left. Raises LeaseLost."""
    started = _move(
        session,
        batch_id,
        owner,
        status="running",
        started_at=func.coalesce(Batch.started_at, func.now()),
        completed_at=None,
        error=None,
    )
    if not started:
        raise lease_lost(batch_id)


def finish(session: Session, batch_id: UUID, owner: str, *, status: str, error: str | None = None) -> datetime | None:
    """Set the batch `completed` or `failed` and return when it ended; None when its lease is not ours."""
    ended = session.execute(
        update(Batch)
        .where(Batch.batch_id == batch_id, Batch.lease_owner == owner)
        .values(status=status, error=error,
                completed_at=func.coalesce(Batch.completed_at, func.now()))
        .returning(Batch.completed_at)
    )  # fmt: skip
    return ended.scalar_one_or_none()


def release_lease(session: Session, batch_id: UUID, owner: str) -> bool:
    """Give the lease back without changing the batch's state."""
    return _move(session, batch_id, owner, lease_owner=None, lease_expires_at=None)


def _move(session: Session, batch_id: UUID, owner: str, **values: Any) -> bool:
    moved = session.execute(
        update(Batch)
        .where(Batch.batch_id == batch_id, Batch.lease_owner == owner)
        .values(**values)
        .returning(Batch.batch_id)
    )
    return moved.one_or_none() is not None


def progress(session: Session, batch_id: UUID, extractor_version: str, max_attempts: int) -> Progress:
    """Count what a batch of scope org still has to do, in one statement."""
    row = session.execute(
        _PROGRESS,
        {
            "batch_id": batch_id,
            "version": extractor_version,
            "max_attempts": max_attempts,
            "permanent": list(PERMANENT_ERRORS),
        },
    ).one()
    return Progress(**row._mapping)


_PROGRESS = text(
    """
    SELECT batch.status,
        count(run.question_run_id) AS expected,
        count(*) FILTER (WHERE run.status IN ('pending', 'asked')) AS open,
        count(*) FILTER (WHERE run.status = 'answered') AS answered,
        count(*) FILTER (WHERE run.status = 'failed') AS failed,
        count(*) FILTER (WHERE run.status = 'failed' AND run.attempts < :max_attempts
                           AND run.error_code <> ALL(:permanent)) AS failed_retryable,
        count(*) FILTER (WHERE run.status = 'answered' AND evaluation.evaluation_id IS NULL) AS unevaluated,
        count(*) FILTER (WHERE run.status = 'answered' AND evaluation.evaluation_id IS NOT NULL
                           AND entry.entry_id IS NULL) AS uncharged,
        coalesce(array_agg(DISTINCT run.model) FILTER (WHERE run.model IS NOT NULL), '{}') AS models
    FROM evaluation_batches batch
    LEFT JOIN question_runs run ON run.batch_id = batch.batch_id
    LEFT JOIN org_evals evaluation ON evaluation.question_run_id = run.question_run_id
        AND evaluation.org_id = batch.org_id AND evaluation.extractor_version = :version
    LEFT JOIN partner_usage_ledger entry ON entry.source_id = run.question_run_id
        AND entry.source_type = 'question_run' AND entry.org_id = batch.org_id AND entry.kind = 'charge'
    WHERE batch.batch_id = :batch_id
    GROUP BY batch.status
    """
)
