"""Batches, answers and evaluations for tests about money, written straight into the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.billing.holds import Claim, Holding, hold, hold_all
from visibility.errors import InsufficientCredits, InvalidInput

ANSWER_COST = Decimal("0.0015")
EVALUATION_COST = Decimal("0.0004")
RUN_DATE = date(2025, 11, 23)
CENT = Decimal("0.01")
REFUSALS = (InsufficientCredits, InvalidInput)


@dataclass(frozen=True)
class Money:
    """A payer's balance, what was paid in, what the ledger says, and what is held; USD."""

    balance: Decimal
    topped_up: Decimal
    ledger: Decimal
    held: Decimal

    def check(self) -> None:
        assert self.topped_up + self.ledger == self.balance
        assert self.balance - self.held >= 0


def open_batch(session: Session, org_id: UUID, *, run_date: date = RUN_DATE) -> UUID:
    """Write the org's batch of the day with one run per question × model × location."""
    batch_id = session.execute(
        text("INSERT INTO evaluation_batches (scope, org_id, run_date) VALUES ('org', :o, :d) RETURNING batch_id"),
        {"o": org_id, "d": run_date},
    ).scalar_one()
    _write_runs(session, batch_id, "org_id", org_id)
    return batch_id


def open_network_batch(session: Session, network_id: UUID, *, run_date: date = RUN_DATE) -> UUID:
    batch_id = session.execute(
        text(
            "INSERT INTO evaluation_batches (scope, network_id, run_date) VALUES ('network', :n, :d) RETURNING batch_id"
        ),
        {"n": network_id, "d": run_date},
    ).scalar_one()
    _write_runs(session, batch_id, "network_id", network_id)
    return batch_id


def _write_runs(session: Session, batch_id: UUID, owner: str, owner_id: UUID) -> None:
    session.execute(
        text(
            f"""
            INSERT INTO question_runs (batch_id, question_id, model, country_code, region_name, city)
            SELECT :batch_id, q.question_id, m.name, l.country_code, l.region_name, l.city
            FROM geo_questions q JOIN geo_models m USING ({owner}) JOIN locations l USING ({owner})
            WHERE q.{owner} = :owner_id
            """
        ),
        {"batch_id": batch_id, "owner_id": owner_id},
    )


def runs_of(session: Session, batch_id: UUID) -> list[UUID]:
    return list(
        session.execute(
            text("SELECT question_run_id FROM question_runs WHERE batch_id = :b ORDER BY question_run_id"),
            {"b": batch_id},
        ).scalars()
    )


def answer(session: Session, batch_id: UUID, *, cost: Decimal = ANSWER_COST, limit: int | None = None) -> None:
    """Answer the batch's pending runs, at most `limit`."""
    session.execute(
        text(
            """
            UPDATE question_runs
            SET status = 'answered', response_text = 'Northwind.', cost_usd = :cost, answered_at = now()
            WHERE question_run_id IN (SELECT question_run_id FROM question_runs
                WHERE batch_id = :b AND status = 'pending' ORDER BY question_run_id LIMIT :n)
            """
        ),
        {"b": batch_id, "cost": cost, "n": limit},
    )


def fail(session: Session, batch_id: UUID, code: str, *, attempts: int = 1, limit: int | None = None) -> None:
    """Mark pending runs failed."""
    session.execute(
        text(
            """
            UPDATE question_runs SET status = 'failed', error_code = :code, attempts = :attempts
            WHERE question_run_id IN (SELECT question_run_id FROM question_runs
                WHERE batch_id = :b AND status = 'pending' ORDER BY question_run_id LIMIT :n)
            """
        ),
        {"b": batch_id, "code": code, "n": limit, "attempts": attempts},
    )


def evaluate(
    session: Session,
    batch_id: UUID,
    org_id: UUID,
    *,
    cost: Decimal = EVALUATION_COST,
    limit: int | None = None,
    version: str = "v1",
) -> None:
    """Evaluate answered runs without an evaluation of this version, at most `limit`."""
    session.execute(
        text(
            """
            INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason, cost_usd)
            SELECT question_run_id, :o, :v, true, 'verified', :cost FROM question_runs run
            WHERE batch_id = :b AND status = 'answered' AND NOT EXISTS (SELECT FROM org_evals e
                WHERE e.question_run_id = run.question_run_id AND e.org_id = :o AND e.extractor_version = :v)
            ORDER BY question_run_id LIMIT :n ON CONFLICT DO NOTHING
            """
        ),
        {"b": batch_id, "o": org_id, "v": version, "cost": cost, "n": limit},
    )


USUAL_HOLD: dict[str, Any] = {
    "expires_in": timedelta(hours=24),
    "expected_evaluation_cost_usd": EVALUATION_COST,
    "expected_answer_cost_usd": ANSWER_COST,
}


def hold_default(session: Session, batch_id: UUID, **changes: Any) -> Decimal:
    """Hold at the usual expected costs for a day."""
    return hold(session, batch_id, **(USUAL_HOLD | changes))


def hold_orgs(session: Session, batches: Sequence[UUID], orgs: Sequence[UUID], **changes: Any) -> Holding:
    """Hold for every org in every batch at the usual expected costs for a day."""
    claims = [Claim(batch_id, org_id) for batch_id in batches for org_id in orgs]
    return hold_all(session, claims, **(USUAL_HOLD | changes))


def leave_network(session: Session, org_id: UUID) -> None:
    session.execute(text("UPDATE orgs SET network_id = NULL WHERE org_id = :o"), {"o": org_id})


def read_for(session: Session, org_id: UUID, network_id: UUID, seconds: float = 60) -> None:
    """Take the reading lease of an org in its network, for so long from now."""
    session.execute(
        text(
            "INSERT INTO reading_leases (org_id, network_id, lease_owner, lease_expires_at) "
            "VALUES (:o, :n, 'reader', clock_timestamp() + make_interval(secs => :s))"
        ),
        {"o": org_id, "n": network_id, "s": seconds},
    )


def money_of(session: Session, payer_id: UUID) -> Money:
    row = session.execute(
        text(
            """
            SELECT coalesce((SELECT current_balance FROM credit_balances WHERE payer_id = :p), 0),
                coalesce((SELECT sum(amount) FROM credit_top_ups WHERE payer_id = :p), 0),
                coalesce((SELECT sum(amount) FROM partner_usage_ledger WHERE payer_id = :p), 0),
                coalesce((SELECT sum(amount) FROM credit_holds WHERE payer_id = :p AND status = 'active'), 0)
            """
        ),
        {"p": payer_id},
    ).one()
    return Money(*row)


def ledger(session: Session, batch_id: UUID) -> list[tuple[Any, ...]]:
    """Every entry of the batch without its own key and time, in a fixed order."""
    rows = session.execute(
        text(
            """
            SELECT org_id, payer_type, payer_id, kind, source_id, amount, metadata FROM partner_usage_ledger
            WHERE batch_id = :b ORDER BY source_id, org_id, kind
            """
        ),
        {"b": batch_id},
    )
    return [tuple(row) for row in rows]


def holds_of(session: Session, batch_id: UUID) -> list[tuple[str, Decimal]]:
    rows = session.execute(
        text("SELECT status, amount FROM credit_holds WHERE batch_id = :b ORDER BY created_at, status"), {"b": batch_id}
    )
    return [(row.status, row.amount) for row in rows]


def partner_of(session: Session, org_id: UUID) -> UUID:
    return session.execute(text("SELECT partner_id FROM orgs WHERE org_id = :o"), {"o": org_id}).scalar_one()


def at_once(jobs: Sequence[Callable[[], object]]) -> list[object]:
    """Run all jobs in threads that start together; return results or refusals."""
    barrier = Barrier(len(jobs))

    def run(job: Callable[[], object]) -> object:
        barrier.wait(10)
        try:
            return job()
        except REFUSALS as refusal:
            return refusal

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))
