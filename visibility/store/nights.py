"""What a night needs to know of many batches at once: work left, who can pay, how long things took, what it came to.

Every reading is one statement, however many orgs and networks there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.billing.payers import Payer
from visibility.domain import Scope

RECENT_BATCHES = 200  # of the last 30 days, whose jobs and calls say how long such things take


@dataclass(frozen=True, slots=True)
class LeftReading:
    """Answers of a batch that one of its readers still needs: `unread` evaluated, `uncharged` charged."""

    batch_id: UUID
    org_id: UUID
    unread: int
    uncharged: int


@dataclass(frozen=True, slots=True)
class Purse:
    """A payer with its balance and what other batches hold of it, USD."""

    payer: Payer
    name: str
    balance_usd: Decimal
    held_usd: Decimal


@dataclass(frozen=True, slots=True)
class LimitedOrg:
    """An org with a spend limit, and what is spent or held of it already, USD."""

    org_id: UUID
    name: str
    spend_limit_usd: Decimal
    committed_usd: Decimal


@dataclass(frozen=True, slots=True)
class Measured:
    """How long vendor jobs and LLM calls took, seconds; None where there were none."""

    jobs: int
    job_seconds: float | None
    slow_job_seconds: float | None
    calls: int
    call_seconds: float | None


@dataclass(frozen=True, slots=True)
class NightTotals:
    """What the batches of a day came to, counted from their rows; USD."""

    expected: int
    answered: int
    vendor_cost_usd: Decimal
    llm_cost_usd: Decimal
    charged_usd: Decimal


def left_readings(session: Session, batch_ids: Collection[UUID], extractor_version: str) -> list[LeftReading]:
    """Return what is answered in the batches and still to be read or charged, per org they are evaluated for."""
    rows = session.execute(_LEFT_READINGS, {"batches": list(batch_ids), "version": extractor_version})
    return [LeftReading(*row) for row in rows]


def purses(session: Session, payers: Collection[Payer], own_batches: Collection[UUID]) -> dict[Payer, Purse]:
    """Return balance and holds of the payers; holds of `own_batches` are left out: they are made anew."""
    given = {
        "types": [payer.payer_type for payer in payers],
        "payers": [payer.payer_id for payer in payers],
        "own": list(own_batches),
    }
    found = [
        Purse(Payer(row.payer_type, row.payer_id), row.name, row.balance, row.held)
        for row in session.execute(_PURSES, given)
    ]
    return {purse.payer: purse for purse in found}


def limited_orgs(session: Session, org_ids: Collection[UUID], own_batches: Collection[UUID]) -> list[LimitedOrg]:
    """Return those of the orgs that have a spend limit, by name; holds of `own_batches` are left out."""
    rows = session.execute(_LIMITED, {"orgs": list(org_ids), "own": list(own_batches)})
    return [LimitedOrg(*row) for row in rows]


def measured(session: Session, *, sandbox: bool, longest_call_seconds: float) -> Measured:
    """Return how long the jobs and calls of recent batches took, simulated ones where `sandbox`.

    Calls that took longer than `longest_call_seconds` did not run by themselves and are left out.
    """
    given = {"sandbox": sandbox, "batches": RECENT_BATCHES, "longest": longest_call_seconds * 1000}
    row = session.execute(_MEASURED, given).one()
    return Measured(**row._mapping)


def night_totals(session: Session, scope: Scope, run_date: date, owner_ids: Sequence[UUID]) -> NightTotals:
    """Count the batches that these orgs or networks have of the date."""
    row = session.execute(_TOTALS, {"scope": scope, "run_date": run_date, "owners": list(owner_ids)}).one()
    return NightTotals(**row._mapping)


def count_ended(session: Session, scope: Scope, run_date: date, owner_ids: Sequence[UUID], since: datetime) -> int:
    """Count the batches of the date that have ended, well or badly, since a moment (UTC)."""
    given = {"scope": scope, "run_date": run_date, "owners": list(owner_ids), "since": since}
    return int(session.execute(_ENDED, given).scalar_one())


_LEFT_READINGS = text(
    """
    SELECT batch.batch_id, reader.org_id,
        count(*) FILTER (WHERE NOT EXISTS (
            SELECT FROM org_evals WHERE question_run_id = run.question_run_id AND org_id = reader.org_id
                AND extractor_version = :version)) AS unread,
        count(*) FILTER (WHERE NOT EXISTS (
            SELECT FROM partner_usage_ledger WHERE source_type = 'question_run' AND source_id = run.question_run_id
                AND org_id = reader.org_id AND kind = 'charge')) AS uncharged
    FROM evaluation_batches batch
    CROSS JOIN LATERAL (
        SELECT batch.org_id WHERE batch.scope = 'org'
        UNION ALL
        SELECT member.org_id FROM orgs member
        WHERE member.network_id = batch.network_id AND member.deleted_at IS NULL) reader
    JOIN question_runs run ON run.batch_id = batch.batch_id AND run.status = 'answered'
    WHERE batch.batch_id = ANY(:batches)
    GROUP BY batch.batch_id, reader.org_id
    """
)
_PURSES = text(
    """
    SELECT payer.payer_type, payer.payer_id, coalesce(org.name, partner.name) AS name,
        coalesce(balance.current_balance, 0) AS balance, held.amount AS held
    FROM unnest(CAST(:types AS text[]), CAST(:payers AS uuid[])) AS payer (payer_type, payer_id)
    LEFT JOIN orgs org ON payer.payer_type = 'ORG' AND org.org_id = payer.payer_id
    LEFT JOIN partners partner ON payer.payer_type = 'PARTNER' AND partner.partner_id = payer.payer_id
    LEFT JOIN credit_balances balance
        ON (balance.payer_type, balance.payer_id) = (payer.payer_type, payer.payer_id)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount), 0) AS amount FROM credit_holds hold
        WHERE (hold.payer_type, hold.payer_id) = (payer.payer_type, payer.payer_id) AND hold.status = 'active'
          AND hold.batch_id NOT IN (SELECT unnest(CAST(:own AS uuid[])))) held
    """
)
_LIMITED = text(
    """
    SELECT org.org_id, org.name, org.spend_limit,
        coalesce((SELECT -sum(amount) FROM partner_usage_ledger entry WHERE entry.org_id = org.org_id), 0)
      + coalesce((SELECT sum(amount) FROM credit_holds hold
                  WHERE hold.org_id = org.org_id AND hold.status = 'active'
                    AND hold.batch_id NOT IN (SELECT unnest(CAST(:own AS uuid[])))), 0) AS committed
    FROM orgs org WHERE org.org_id = ANY(:orgs) AND org.spend_limit IS NOT NULL
    ORDER BY org.name, org.org_id
    """
)
# By way of the newest batches: neither jobs nor calls are indexed by time, and there are millions of calls.
_MEASURED = text(
    """
    WITH recent AS MATERIALIZED (
        SELECT batch_id FROM evaluation_batches
        WHERE sandbox = :sandbox AND created_at > now() - interval '30 days'
        ORDER BY created_at DESC LIMIT :batches),
    job AS (
        SELECT extract(epoch FROM fetched_at - submitted_at) AS seconds FROM provider_jobs
        WHERE status = 'fetched'
          AND job_id IN (SELECT run.provider_job_id FROM question_runs run JOIN recent USING (batch_id))),
    call AS (SELECT latency_ms FROM llm_calls JOIN recent USING (batch_id) WHERE latency_ms <= :longest)
    SELECT (SELECT count(*) FROM job) AS jobs,
        (SELECT CAST(avg(seconds) AS float) FROM job) AS job_seconds,
        (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY CAST(seconds AS float)) FROM job) AS slow_job_seconds,
        (SELECT count(*) FROM call) AS calls,
        (SELECT CAST(avg(latency_ms) AS float) / 1000 FROM call) AS call_seconds
    """
)
_OF_THE_DAY = """
    scope = :scope AND coalesce(org_id, network_id) = ANY(:owners) AND run_date = :run_date
"""
_TOTALS = text(
    f"""
    WITH batch AS MATERIALIZED (SELECT batch_id FROM evaluation_batches WHERE {_OF_THE_DAY}),
    run AS (
        SELECT count(*) AS expected, count(*) FILTER (WHERE status = 'answered') AS answered,
            coalesce(sum(cost_usd), 0) AS vendor_cost_usd
        FROM question_runs JOIN batch USING (batch_id)),
    call AS (SELECT coalesce(sum(cost_usd), 0) AS llm_cost_usd FROM llm_calls JOIN batch USING (batch_id)),
    entry AS (
        SELECT -coalesce(sum(amount), 0) AS charged_usd
        FROM partner_usage_ledger JOIN batch USING (batch_id) WHERE kind = 'charge')
    SELECT * FROM run CROSS JOIN call CROSS JOIN entry
    """
)
_ENDED = text(
    f"""
    SELECT count(*) FROM evaluation_batches
    WHERE {_OF_THE_DAY} AND status IN ('completed', 'failed') AND completed_at >= :since
    """
)
