"""Giving a charge back: an entry of its own, which does not make the run free to charge again."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.billing.payers import Payer, lock_balance
from visibility.errors import InvalidInput


def refund(session: Session, question_run_id: UUID, org_id: UUID, *, reason: str) -> Decimal:
    """Give the payer back what (run, org) was charged; return the amount, USD, 0 when it was refunded before.

    Raises InvalidInput when there is no such charge.
    """
    key = {"question_run_id": question_run_id, "org_id": org_id}
    charged = session.execute(_FIND_CHARGE, key).one_or_none()
    if charged is None:
        raise InvalidInput(f"Question run {question_run_id} was never charged for org {org_id}.")
    payer = Payer(charged.payer_type, charged.payer_id)
    lock_balance(session, payer)
    refunded: Decimal = session.execute(_REFUND, {**key, "reason": reason}).scalar_one()
    return refunded


_FIND_CHARGE = text(
    """
    SELECT payer_type, payer_id FROM partner_usage_ledger
    WHERE source_type = 'question_run' AND source_id = :question_run_id AND org_id = :org_id AND kind = 'charge'
    """
)
_REFUND = text(
    """
    WITH refunded AS (
        INSERT INTO partner_usage_ledger
            (org_id, partner_id, payer_type, payer_id, amount, kind, source_type, source_id, batch_id, metadata)
        SELECT org_id, partner_id, payer_type, payer_id, -amount, 'refund', source_type, source_id, batch_id,
            metadata || jsonb_build_object('refund_reason', CAST(:reason AS text))
        FROM partner_usage_ledger
        WHERE source_type = 'question_run' AND source_id = :question_run_id AND org_id = :org_id AND kind = 'charge'
        ON CONFLICT (source_type, source_id, org_id, kind) DO NOTHING
        RETURNING payer_type, payer_id, amount),
    credited AS (
        UPDATE credit_balances balance
        SET current_balance = balance.current_balance + refunded.amount, updated_at = now()
        FROM refunded WHERE balance.payer_type = refunded.payer_type AND balance.payer_id = refunded.payer_id)
    SELECT coalesce(sum(amount), 0) FROM refunded
    """
)
