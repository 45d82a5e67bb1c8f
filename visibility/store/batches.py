"""Batches: one row per (scope, owner, UTC date), its manifest, its state, and taking its lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, select, text, update
from sqlalchemy.orm import Session

from visibility.domain import BatchKey, Location, Question
from visibility.store.leases import TAKE_OVER, HeldLease, Lease, lease_lost, update_held
from visibility.store.tables import Batch

PERMANENT_ERRORS = (
    "bad_input",
    "unsupported_country",
    "unsupported_model",
    "provider_not_configured",
    "content_refused",
)


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
class Progress:
    """Counts of a batch's question runs at one extractor version; `models` are those of its manifest.

    A network's batch is only asked: what its orgs have not read of it yet does not count here.
    """

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


def take_lease(session: Session, opening: Opening, *, dead_holder: str | None = None) -> tuple[Lease, bool]:
    """Insert or find the batch and take its lease when it can be had; with it, whether the batch is simulated."""
    taken = session.execute(_TAKE_LEASE, _lease_parameters(opening, dead_holder)).one_or_none()
    if taken is not None:
        return Lease("batch", taken.batch_id, True, opening.lease_owner), taken.sandbox
    found = session.execute(
        _FIND, {"scope": opening.key.scope, "owner_id": opening.key.owner_id, "run_date": opening.key.run_date}
    ).one()
    return Lease("batch", found.batch_id, False, found.lease_owner), found.sandbox


_TAKE_LEASE = text(
    f"""
    INSERT INTO evaluation_batches AS leased
        (scope, org_id, network_id, run_date, trigger, triggered_by, user_id, flow_run_id, sandbox,
         lease_owner, lease_expires_at)
    VALUES (:scope, :org_id, :network_id, :run_date, :trigger, :triggered_by, :user_id, :flow_run_id, :sandbox,
            :lease_owner, now() + make_interval(secs => :lease_seconds))
    ON CONFLICT (scope, coalesce(org_id, network_id), run_date) {TAKE_OVER}
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


def start(session: Session, held: HeldLease) -> None:
    """Set the batch running, also a failed or completed one that has work left. Raises LeaseLost."""
    started_at = func.coalesce(Batch.started_at, func.now())
    if not update_held(session, held, status="running", started_at=started_at, completed_at=None, error=None):
        raise lease_lost(held)


def finish(session: Session, held: HeldLease, *, status: str, error: str | None = None) -> datetime | None:
    """Set the batch `completed` or `failed` and return when it ended; None when its lease is not ours."""
    ended = session.execute(
        update(Batch)
        .where(Batch.batch_id == held.lease_id, Batch.lease_owner == held.owner)
        .values(status=status, error=error,
                completed_at=func.coalesce(Batch.completed_at, func.now()))
        .returning(Batch.completed_at)
    )  # fmt: skip
    return ended.scalar_one_or_none()


def progress(session: Session, batch_id: UUID, extractor_version: str, max_attempts: int) -> Progress:
    """Count what a batch still has to do, in one statement."""
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
        count(*) FILTER (WHERE run.status = 'answered' AND evaluation.evaluation_id IS NULL
                           AND batch.scope = 'org') AS unevaluated,
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
