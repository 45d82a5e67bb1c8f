"""Who has changed over: a top-up of 0 USD says so, and nobody imports such a partner again over what it did since."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from visibility.store.tables import CreditTopUp

CHANGED_OVER_NOTE = "legacy: changed over"
RETURNED_NOTE = "legacy: changed over, and given back"


def changed_over(session: Session) -> Mapping[UUID, datetime]:
    """Return the partners that have changed over and not gone back, with the moment."""
    marks = select(CreditTopUp.payer_id, CreditTopUp.created_at).filter_by(payer_type="PARTNER", note=CHANGED_OVER_NOTE)
    return {row.payer_id: row.created_at for row in session.execute(marks)}


def mark_changed_over(session: Session, partner_id: UUID) -> None:
    """Say that the old system has nothing more to tell about this partner."""
    session.execute(
        insert(CreditTopUp).values(payer_type="PARTNER", payer_id=partner_id, amount=0, note=CHANGED_OVER_NOTE)
    )


def lift_mark(session: Session, partner_id: UUID) -> None:
    """Say that the partner has gone back to the old system; it may be imported again."""
    session.execute(
        update(CreditTopUp)
        .where(CreditTopUp.payer_id == partner_id, CreditTopUp.note == CHANGED_OVER_NOTE)
        .values(note=RETURNED_NOTE)
    )
