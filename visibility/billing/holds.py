"""Credits reserved before anything is asked, and given back when they are not needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.billing.payers import Terms, load_terms, lock_balance
from visibility.billing.pricing import quote
from visibility.errors import InsufficientCredits
from visibility.store.batches import PERMANENT_ERRORS


@dataclass(frozen=True, slots=True)
class ReleasedHold:
    """A hold that was given back; `amount` in USD."""

    hold_id: UUID
    batch_id: UUID
    org_id: UUID
    amount: Decimal


def hold(
    session: Session,
    batch_id: UUID,
    *,
    expires_in: timedelta,
    expected_evaluation_cost_usd: Decimal,
    expected_answer_cost_usd: Decimal,
    org_id: UUID | None = None,
    max_attempts: int | None = None,
) -> Decimal:
    """Reserve the quoted price of every run of the batch that may still be charged; return the amount, USD.

    Those are the runs that are not charged yet, except failed ones that are never asked again: refused
    for good, or (with `max_attempts`) asked that often. No such run: 0 and no hold. A hold that is still
    active is re-sized, never doubled, and keeps the lower of the two quotes. Three statements.

    Raises InsufficientCredits when the payer's balance or the org's spend limit does not cover it,
    ConfigurationError for a pricing config out of range.
    """
    terms = load_terms(session, batch_id, org_id, lock_org=True)
    quoted_price = quote(
        terms.config,
        expected_answer_cost_usd=expected_answer_cost_usd,
        expected_evaluation_cost_usd=expected_evaluation_cost_usd,
        shared_by=terms.shared_by,
    )
    lock_balance(session, terms.payer)
    # a statement of its own: one that waited for the lock would still see the holds of before its wait
    placed = session.execute(
        _PLACE,
        {
            "batch_id": batch_id,
            "org_id": terms.org_id,
            "payer_type": terms.payer.payer_type,
            "payer_id": terms.payer.payer_id,
            "quoted_price": quoted_price,
            "spend_limit": terms.spend_limit,
            "expires_in": expires_in,
            "permanent": list(PERMANENT_ERRORS),
            "max_attempts": max_attempts,
        },
    ).one()
    if placed.runs and not placed.placed:
        raise _refusal(terms, placed)
    needed: Decimal = placed.needed
    return needed


def release(session: Session, batch_id: UUID, org_id: UUID | None = None) -> list[ReleasedHold]:
    """Give back the batch's active holds (or one org's) without charging anything; settle first what is done."""
    rows = session.execute(_RELEASE, {"batch_id": batch_id, "org_id": org_id})
    return [ReleasedHold(*row) for row in rows]


def release_expired(session: Session) -> list[ReleasedHold]:
    """Give back the expired holds of batches on which no live flow works.

    What was evaluated under such a hold can still be settled afterwards, at its quote.
    """
    return [ReleasedHold(*row) for row in session.execute(_RELEASE_EXPIRED)]


def _refusal(terms: Terms, placed: Row[tuple[object, ...]]) -> InsufficientCredits:
    payer = terms.payer
    if placed.available < placed.needed or terms.spend_limit is None:
        return InsufficientCredits(payer.payer_type, payer.payer_id, placed.available, placed.needed)
    room = terms.spend_limit - placed.committed
    return InsufficientCredits(
        payer.payer_type,
        payer.payer_id,
        room,
        placed.needed,
        message=f"Org {terms.org_name!r} has a spend_limit of {terms.spend_limit} USD, of which {room} USD are left "
        f"for {payer}, and needs {placed.needed} USD; nothing was asked. Raise the limit and start again.",
    )


# The index of active holds makes a second one impossible; on a rerun the amount of the own hold is
# left out of what is taken, and replaced.
_PLACE = text(
    """
    WITH open AS (
        SELECT count(*) AS runs FROM question_runs run
        WHERE run.batch_id = :batch_id
          AND NOT (run.status = 'failed' AND (coalesce(run.error_code, '') = ANY(:permanent)
                                              OR run.attempts >= CAST(:max_attempts AS integer) IS TRUE))
          AND NOT EXISTS (
              SELECT FROM partner_usage_ledger entry
              WHERE entry.source_type = 'question_run' AND entry.source_id = run.question_run_id
                AND entry.org_id = :org_id AND entry.kind = 'charge')),
    own AS (
        SELECT hold_id, quoted_price FROM credit_holds
        WHERE batch_id = :batch_id AND org_id = :org_id AND status = 'active'),
    quoted AS (
        SELECT least(CAST(:quoted_price AS numeric), (SELECT quoted_price FROM own)) AS price),
    figures AS (
        SELECT open.runs, quoted.price, open.runs * quoted.price AS needed,
            coalesce((SELECT current_balance FROM credit_balances
                      WHERE payer_type = :payer_type AND payer_id = :payer_id), 0)
          - coalesce((SELECT sum(amount) FROM credit_holds
                      WHERE payer_type = :payer_type AND payer_id = :payer_id AND status = 'active'
                        AND hold_id NOT IN (SELECT hold_id FROM own)), 0) AS available,
            coalesce((SELECT -sum(amount) FROM partner_usage_ledger
                      WHERE org_id = :org_id AND CAST(:spend_limit AS numeric) IS NOT NULL), 0)
          + coalesce((SELECT sum(amount) FROM credit_holds
                      WHERE org_id = :org_id AND status = 'active'
                        AND hold_id NOT IN (SELECT hold_id FROM own)), 0) AS committed
        FROM open, quoted),
    placed AS (
        INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, expires_at)
        SELECT :batch_id, :org_id, :payer_type, :payer_id, needed, price, now() + :expires_in FROM figures
        WHERE runs > 0 AND available >= needed
          AND (CAST(:spend_limit AS numeric) IS NULL OR committed + needed <= :spend_limit)
        ON CONFLICT (batch_id, org_id) WHERE status = 'active' DO UPDATE
            SET payer_type = excluded.payer_type, payer_id = excluded.payer_id, amount = excluded.amount,
                quoted_price = excluded.quoted_price, expires_at = excluded.expires_at
        RETURNING hold_id),
    needless AS (
        UPDATE credit_holds SET status = 'released', closed_at = now()
        WHERE hold_id IN (SELECT hold_id FROM own) AND (SELECT runs FROM open) = 0)
    SELECT runs, needed, available, committed, EXISTS (SELECT FROM placed) AS placed FROM figures
    """
)
_RELEASE = text(
    """
    UPDATE credit_holds SET status = 'released', closed_at = now()
    WHERE hold_id IN (
        SELECT hold_id FROM credit_holds
        WHERE batch_id = :batch_id AND org_id = coalesce(CAST(:org_id AS uuid), org_id) AND status = 'active'
        ORDER BY hold_id FOR UPDATE)
    RETURNING hold_id, batch_id, org_id, amount
    """
)
_RELEASE_EXPIRED = text(
    """
    UPDATE credit_holds SET status = 'released', closed_at = now()
    WHERE hold_id IN (
        SELECT hold.hold_id FROM credit_holds hold
        JOIN evaluation_batches batch ON batch.batch_id = hold.batch_id
        WHERE hold.status = 'active' AND hold.expires_at < now()
          AND (batch.lease_owner IS NULL OR batch.lease_expires_at < now())
        ORDER BY hold.hold_id FOR UPDATE OF hold SKIP LOCKED)
    RETURNING hold_id, batch_id, org_id, amount
    """
)
