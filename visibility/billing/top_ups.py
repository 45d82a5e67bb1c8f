"""What payers pay in; the sum of top-ups and ledger entries is the balance."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.domain import PayerType
from visibility.errors import InvalidInput

OPENING_NOTE = "opening balance"


def top_up(
    session: Session, payer_type: PayerType, payer_id: UUID, amount: Decimal, note: str | None = None
) -> Decimal:
    """Add `amount` USD to the payer's balance, made when there is none; return the new balance.

    Every call adds: a caller that may run twice asks `ensure_opening_balance`. Raises InvalidInput for
    an amount that is not above 0.
    """
    if not (amount.is_finite() and amount > 0):
        raise InvalidInput(f"A top-up is an amount above 0 USD, not {amount}.")
    parameters = {"payer_type": payer_type, "payer_id": payer_id, "amount": amount, "note": note}
    balance: Decimal = session.execute(_TOP_UP, parameters).scalar_one()
    return balance


def ensure_opening_balance(session: Session, payer_type: PayerType, payer_id: UUID, amount: Decimal) -> bool:
    """Give a payer without a balance one of `amount` USD (0 or more); True when it was made now.

    A balance that exists stays as it is, and is not locked. Raises InvalidInput for a negative amount.
    """
    if not (amount.is_finite() and amount >= 0):
        raise InvalidInput(f"An opening balance is an amount of 0 USD or more, not {amount}.")
    parameters = {"payer_type": payer_type, "payer_id": payer_id, "amount": amount, "note": OPENING_NOTE}
    made = session.execute(_OPEN, parameters).one_or_none()
    return made is not None


_TOP_UP = text(
    """
    WITH paid AS (
        INSERT INTO credit_top_ups (payer_type, payer_id, amount, note)
        VALUES (:payer_type, :payer_id, :amount, :note) RETURNING payer_type, payer_id, amount)
    INSERT INTO credit_balances AS balance (payer_type, payer_id, current_balance)
    SELECT payer_type, payer_id, amount FROM paid
    ON CONFLICT (payer_type, payer_id) DO UPDATE
        SET current_balance = balance.current_balance + excluded.current_balance, updated_at = now()
    RETURNING current_balance
    """
)
_OPEN = text(
    """
    WITH opened AS (
        INSERT INTO credit_balances (payer_type, payer_id, current_balance)
        VALUES (:payer_type, :payer_id, :amount)
        ON CONFLICT (payer_type, payer_id) DO NOTHING
        RETURNING payer_type, payer_id, current_balance)
    INSERT INTO credit_top_ups (payer_type, payer_id, amount, note)
    SELECT payer_type, payer_id, current_balance, :note FROM opened
    RETURNING top_up_id
    """
)
