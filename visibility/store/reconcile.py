"""What flows that died have left: each query finds one kind of it, of the batches of the last days.

A lease is live until it lapses, unless its holder is known to be dead. Nobody touches what has a live lease.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.billing.holds import release_expired
from visibility.billing.settlement import Settlement, settle
from visibility.domain import BatchKey


@dataclass(frozen=True, slots=True)
class Window:
    """Which batches are looked at: opened, or worked on by who still has the lease, since a moment (UTC).

    `dead`: holders of leases that are known to be dead before their leases lapse.
    """

    since: datetime
    sandbox: bool
    dead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftBatch:
    """A batch that no live flow works on."""

    batch_id: UUID
    key: BatchKey
    name: str


@dataclass(frozen=True, slots=True)
class LeftJob:
    """An open vendor job with `runs` question runs of batches that nobody works on, and the names of their owners."""

    job_id: UUID
    provider: str
    runs: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftReading:
    """A member for which a flow was reading its network's answers when it died."""

    org_id: UUID
    network_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Owed:
    """Evaluated and uncharged: `runs` answers of a batch for one org, also one that has left the network."""

    batch_id: UUID
    org_id: UUID
    name: str
    run_date: date
    runs: int


@dataclass(frozen=True, slots=True)
class FreedHolds:
    """Holds of one org that have expired and are given back, USD."""

    org_id: UUID
    name: str
    holds: int
    amount_usd: Decimal


def lease_holders(session: Session) -> list[str]:
    """Return who holds a lease that has not lapsed."""
    return list(session.scalars(_LEASE_HOLDERS))


_LEASE_HOLDERS = text(
    """
    SELECT lease_owner FROM evaluation_batches WHERE lease_owner IS NOT NULL AND lease_expires_at >= now()
    UNION SELECT lease_owner FROM reading_leases WHERE lease_owner IS NOT NULL AND lease_expires_at >= now()
    """
)


def find_stranded(session: Session, window: Window) -> list[LeftBatch]:
    """Find the batches whose flow is gone, oldest first: begun and not ended, or with a lease that nobody gave back.

    A network's batch has ended when its questions are answered; its lease is given back after its members' flows.
    """
    return [_left_batch(row) for row in session.execute(_FIND_STRANDED, _parameters(window))]


def find_idle(session: Session, window: Window, batch_ids: Collection[UUID]) -> list[LeftBatch]:
    """Return those of the batches that no live flow works on and whose owner still exists."""
    return [
        _left_batch(row) for row in session.execute(_FIND_IDLE, {**_parameters(window), "batch_ids": sorted(batch_ids)})
    ]


def close_deleted(session: Session, window: Window) -> list[LeftBatch]:
    """Set stranded batches failed whose org or network was deleted: nobody can go on with them."""
    return [_left_batch(row) for row in session.execute(_CLOSE_DELETED, _parameters(window))]


def find_open_jobs(session: Session, window: Window) -> list[LeftJob]:
    """Find the open vendor jobs with question runs of batches that nobody works on, and that are not stranded.

    A stranded batch sees its jobs through when it is resumed.
    """
    found = session.execute(_FIND_OPEN_JOBS, _parameters(window))
    return [LeftJob(row.job_id, row.provider, row.runs, tuple(row.names)) for row in found]


def find_readings(session: Session, window: Window) -> list[LeftReading]:
    """Find the members of networks whose reading lease nobody gave back."""
    return [LeftReading(*row) for row in session.execute(_FIND_READINGS, _parameters(window))]


def find_owed(session: Session, window: Window) -> list[Owed]:
    """Find what is evaluated and not charged where nobody works; what never had a hold was never quoted."""
    return [Owed(*row) for row in session.execute(_FIND_OWED, _parameters(window))]


def settle_idle(session: Session, owed: Owed, dead: Collection[str]) -> Settlement | None:
    """Charge what is evaluated and close the hold, unless a flow is at work by now: that one settles itself, None.

    Raises InsufficientCredits when the hold is gone and the balance does not cover the sum.
    """
    parameters: dict[str, Any] = {"batch_id": owed.batch_id, "org_id": owed.org_id}
    session.execute(_LOCK_ORG, parameters)
    # a statement of its own: it must see who came while it waited; who comes now waits with its hold for this end
    if session.execute(_IS_WORKED_ON, {**parameters, "dead": list(dead)}).scalar_one():
        return None
    return settle(session, owed.batch_id, owed.org_id)


def release_holds(session: Session) -> list[FreedHolds]:
    """Give back the expired holds of dead flows; return them by org."""
    released = release_expired(session)
    rows = session.execute(
        _NAMES_OF_HOLDS,
        {"orgs": [hold.org_id for hold in released], "amounts": [hold.amount for hold in released]},
    )
    return [FreedHolds(*row) for row in rows]


def _parameters(window: Window) -> dict[str, Any]:
    return {"since": window.since, "sandbox": window.sandbox, "dead": list(window.dead)}


def _left_batch(row: Row[Any]) -> LeftBatch:
    return LeftBatch(row.batch_id, BatchKey(row.scope, row.owner_id, row.run_date), row.name)


_LIVE = """
    ({0}.lease_owner IS NOT NULL AND {0}.lease_expires_at >= now() AND {0}.lease_owner <> ALL(CAST(:dead AS text[])))
"""
_BATCHES = f"""
    evaluation_batches batch
    LEFT JOIN orgs org ON org.org_id = batch.org_id
    LEFT JOIN networks network ON network.network_id = batch.network_id
    WHERE (batch.created_at >= :since OR batch.lease_owner IS NOT NULL AND batch.lease_expires_at >= :since)
      AND batch.sandbox = :sandbox AND NOT {_LIVE.format("batch")}
"""
_COLUMNS = """
    batch.batch_id, batch.scope, coalesce(batch.org_id, batch.network_id) AS owner_id, batch.run_date,
    coalesce(org.name, network.name) AS name
"""
_STRANDED = "(batch.status IN ('pending', 'running') OR batch.lease_owner IS NOT NULL)"
_IS_THERE = "coalesce(org.deleted_at, network.deleted_at) IS NULL"
_FIND_STRANDED = text(
    f"SELECT {_COLUMNS} FROM {_BATCHES} AND {_STRANDED} AND {_IS_THERE} ORDER BY batch.run_date, name, batch.batch_id"
)
_FIND_IDLE = text(
    f"""
    SELECT {_COLUMNS} FROM {_BATCHES} AND {_IS_THERE} AND batch.batch_id = ANY(CAST(:batch_ids AS uuid[]))
    ORDER BY batch.run_date, name, batch.batch_id
    """
)
_CLOSE_DELETED = text(
    f"""
    WITH gone AS (
        SELECT {_COLUMNS} FROM {_BATCHES} AND {_STRANDED} AND NOT {_IS_THERE} FOR UPDATE OF batch SKIP LOCKED)
    UPDATE evaluation_batches batch
    SET status = CASE WHEN batch.status IN ('pending', 'running') THEN 'failed' ELSE batch.status END,
        error = coalesce(batch.error, 'It was deleted before its batch ended.'),
        completed_at = coalesce(batch.completed_at, now()), lease_owner = NULL, lease_expires_at = NULL
    FROM gone WHERE batch.batch_id = gone.batch_id
    RETURNING gone.*
    """
)
_FIND_OPEN_JOBS = text(
    f"""
    SELECT job.job_id, job.provider, count(*) AS runs, array_agg(DISTINCT idle.name) AS names
    FROM provider_jobs job
    JOIN question_runs run ON run.provider_job_id = job.job_id AND run.status = 'asked'
    JOIN (SELECT {_COLUMNS} FROM {_BATCHES} AND NOT ({_STRANDED} AND {_IS_THERE})) idle USING (batch_id)
    WHERE job.status IN ('submitting', 'submitted', 'ready')
    GROUP BY job.job_id, job.provider ORDER BY min(job.created_at), job.job_id
    """
)
_FIND_READINGS = text(
    f"""
    SELECT lease.org_id, lease.network_id, org.name
    FROM reading_leases lease JOIN orgs org ON org.org_id = lease.org_id AND org.network_id = lease.network_id
    JOIN networks network ON network.network_id = lease.network_id
    WHERE lease.lease_owner IS NOT NULL AND lease.lease_expires_at >= :since AND NOT {_LIVE.format("lease")}
      AND org.deleted_at IS NULL AND network.deleted_at IS NULL
      AND EXISTS (SELECT FROM evaluation_batches batch WHERE batch.scope = 'network'
                  AND coalesce(batch.org_id, batch.network_id) = lease.network_id AND batch.sandbox = :sandbox)
    ORDER BY org.name, org.org_id
    """
)
# Where every hold is settled all was charged, but for what a dying flow stored after its settlement: a day is enough to
# see that, and spares the reading of every answer of the other days in every hour.
_MAY_OWE = """
    (batch.completed_at IS NULL OR batch.completed_at >= now() - interval '1 day' OR EXISTS (
        SELECT FROM credit_holds hold WHERE hold.batch_id = batch.batch_id AND hold.status <> 'settled'))
"""
# An aggregate and LIMIT 1 keep the planner from joining whole tables: it reads the runs of each batch of the window and
# looks unique indexes up for each of them.
_FIND_OWED = text(
    f"""
    SELECT batch.batch_id, owed.org_id, debtor.name, batch.run_date, owed.runs
    FROM (SELECT {_COLUMNS}, batch.network_id FROM {_BATCHES} AND {_MAY_OWE}) batch
    CROSS JOIN LATERAL (
        SELECT evaluation.org_id, count(DISTINCT run.question_run_id) AS runs
        FROM question_runs run JOIN org_evals evaluation USING (question_run_id)
        LEFT JOIN LATERAL (
            SELECT true AS found FROM partner_usage_ledger
            WHERE source_type = 'question_run' AND source_id = run.question_run_id
              AND org_id = evaluation.org_id AND kind = 'charge'
            LIMIT 1) entry ON true
        WHERE run.batch_id = batch.batch_id AND run.status = 'answered' AND entry.found IS NULL
        GROUP BY evaluation.org_id) owed
    JOIN orgs debtor ON debtor.org_id = owed.org_id
    WHERE EXISTS (SELECT FROM credit_holds hold WHERE hold.batch_id = batch.batch_id AND hold.org_id = owed.org_id)
      AND NOT EXISTS (
        SELECT FROM reading_leases lease WHERE lease.org_id = owed.org_id
          AND lease.network_id IS NOT DISTINCT FROM batch.network_id AND {_LIVE.format("lease")})
    ORDER BY batch.run_date, debtor.name, batch.batch_id
    """
)
_LOCK_ORG = text("SELECT FROM orgs WHERE org_id = :org_id FOR NO KEY UPDATE")
_IS_WORKED_ON = text(
    f"""
    SELECT {_LIVE.format("batch")} OR EXISTS (
        SELECT FROM reading_leases lease WHERE lease.org_id = :org_id
          AND lease.network_id IS NOT DISTINCT FROM batch.network_id AND {_LIVE.format("lease")})
    FROM evaluation_batches batch WHERE batch.batch_id = :batch_id
    """
)
_NAMES_OF_HOLDS = text(
    """
    SELECT org.org_id, org.name, count(*) AS holds, sum(released.amount) AS amount
    FROM unnest(CAST(:orgs AS uuid[]), CAST(:amounts AS numeric[])) AS released (org_id, amount)
    JOIN orgs org USING (org_id)
    GROUP BY org.org_id, org.name ORDER BY org.name, org.org_id
    """
)
