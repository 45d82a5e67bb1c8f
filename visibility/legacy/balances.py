"""Balances of the old system, taken over as top-ups: Σ ledger + Σ top-ups = balance, whatever runs how often.

Of what comes from the old system, top-ups and ledger entries of a payer add up to the balance that it has there. So a
charge that is taken over later brings a top-up of the same amount with it, and only what the old balance has moved by
since the last import is entered again. What was charged or paid in here meanwhile is left as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from visibility.billing.top_ups import top_up
from visibility.domain import PayerType
from visibility.errors import InvalidInput, ItemError
from visibility.legacy.report import BALANCES, Report
from visibility.legacy.source import LegacyDatabase, Row
from visibility.legacy.values import Refused, an_id, money
from visibility.store.tables import OrgRow, Partner

BALANCE_NOTE = "legacy: balance"
CHARGES_NOTE = "legacy: paid in for charges taken over"
GIVEN_BACK_NOTE = "given back to the old system"
ORIGIN = "legacy"


@dataclass(frozen=True, slots=True)
class Payer:
    """Who has a balance."""

    type: PayerType
    id: UUID

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statements want it."""
        return {"payer_type": self.type, "payer_id": self.id}


def read_balances(source: LegacyDatabase, report: Report, payers: Collection[Payer]) -> dict[Payer, Decimal]:
    """Return the old balances, USD; what is none, negative or of nobody is reported and left out."""
    found: dict[Payer, Decimal] = {}
    for row in source.rows("balances"):
        key = f"{row['payer_type']} {row['payer_id']}"
        try:
            payer, amount = _balance(row, payers)
            if payer in found:
                raise Refused("the payer has two balances; the first is taken")
            found[payer] = amount
        except Refused as error:
            report.skip(BALANCES, key, error.message)
    return found


def _balance(row: Row, payers: Collection[Payer]) -> tuple[Payer, Decimal]:
    kind = str(row["payer_type"]).upper()
    if kind not in ("ORG", "PARTNER"):
        raise Refused(f"{row['payer_type']!r} is no kind of payer")
    payer, amount = Payer("ORG" if kind == "ORG" else "PARTNER", an_id(row, "payer_id")), money(row, "amount")
    if payer not in payers:
        raise Refused("the payer is not taken over")
    if amount is None:
        raise Refused("it has no amount")
    if amount < 0:
        raise Refused(f"it is {amount} USD, and no balance here is below 0: settle the debt, or top up, outside")
    return payer, amount


def bring_balance(session: Session, payer: Payer, target: Decimal, report: Report) -> None:
    """Enter what the old balance has moved by since the last import: all of it at the first one."""
    counts = report.counts(BALANCES)
    row = session.execute(_STANDING, payer.parameters).one()
    difference = target - row.taken_over
    if difference == 0 and row.balance is not None:
        counts.unchanged += 1
        return
    if difference < 0 and (row.balance or Decimal(0)) - row.held + difference < 0:
        sentence = f"{row.balance} USD here, of which {row.held} are held, cannot be lowered by {-difference}"
        report.skip(BALANCES, payer, sentence)
        return
    if row.balance is None:
        counts.created += 1
    else:
        counts.updated += 1
    _pay_in(session, payer, difference, BALANCE_NOTE)


def take_charges(session: Session, charged: Mapping[Payer, Decimal]) -> None:
    """Balance ledger entries that were just taken over: `charged` is their sum per payer, USD, negative for charges."""
    for payer, amount in sorted(charged.items(), key=lambda item: str(item[0])):
        if amount > 0:  # refunds: first in, then out, so that the balance never falls below what it is
            session.execute(_OPEN, payer.parameters)
            session.execute(_MOVE, payer.parameters | {"amount": amount})
            _pay_in(session, payer, -amount, CHARGES_NOTE)
        elif amount < 0:
            _pay_in(session, payer, -amount, CHARGES_NOTE)
            session.execute(_MOVE, payer.parameters | {"amount": amount})


def give_back(session: Session, payer: Payer) -> Decimal:
    """Return what the balance has moved by here since it was taken over, USD, and take that movement out of it.

    For a payer that returns to the old system, which is to enter the same amount: afterwards the balance here is again
    the one that was taken over, and a later import brings it to the old one. A second call finds 0.
    Raises InvalidInput while credits are held: a flow is at work.
    """
    row = session.execute(_STANDING, payer.parameters).one()
    if row.balance is None:
        return Decimal(0)
    if row.held:
        raise InvalidInput(f"{payer} has {row.held} USD held; wait until its flows have ended.")
    moved: Decimal = row.balance - row.taken_over
    if moved:
        _pay_in(session, payer, -moved, GIVEN_BACK_NOTE)
    return moved


def unexplained(session: Session, payers: Collection[Payer]) -> Iterator[str]:
    """Say which of the payers' balances are not the sum of their top-ups and ledger entries."""
    for payer in sorted(payers, key=str):
        row = session.execute(_EXPLAINED, payer.parameters).one()
        if row.balance is not None and row.balance != row.explained:
            yield f"{payer} has {row.balance} USD, but top-ups and ledger say {row.explained}"


def require_explained(session: Session, payers: Collection[Payer]) -> None:
    """Raise ItemError when a balance is not explained by its top-ups and ledger entries."""
    wrong = list(unexplained(session, payers))
    if wrong:
        raise ItemError(f"money does not add up: {'; '.join(wrong)}")


def payers_of(session: Session, partner_id: UUID) -> list[Payer]:
    """Return the partner and its orgs as payers. Raises InvalidInput for a partner that is not there."""
    if session.get(Partner, partner_id) is None:
        raise InvalidInput(f"There is no partner {partner_id}.")
    orgs = session.scalars(select(OrgRow.org_id).filter_by(partner_id=partner_id).order_by(OrgRow.org_id))
    return [Payer("PARTNER", partner_id), *(Payer("ORG", org_id) for org_id in orgs)]


def _pay_in(session: Session, payer: Payer, amount: Decimal, note: str) -> None:
    """A correction downwards is a top-up below 0, which nobody but an import makes."""
    if amount > 0:
        top_up(session, payer.type, payer.id, amount, note)
        return
    session.execute(_OPEN, payer.parameters)
    session.execute(_CORRECT, payer.parameters | {"amount": amount, "note": note})
    session.execute(_MOVE, payer.parameters | {"amount": amount})


_OF_PAYER = "payer_type = :payer_type AND payer_id = :payer_id"
# a refund that is given here keeps the metadata of its charge, and is none of the old system's
_STANDING = text(
    f"""
    WITH standing AS (SELECT current_balance FROM credit_balances WHERE {_OF_PAYER} FOR UPDATE)
    SELECT (SELECT current_balance FROM standing) AS balance,
        (SELECT coalesce(sum(amount), 0) FROM credit_holds WHERE {_OF_PAYER} AND status = 'active') AS held,
        (SELECT coalesce(sum(amount), 0) FROM credit_top_ups WHERE {_OF_PAYER} AND note LIKE '{ORIGIN}: %')
        + (SELECT coalesce(sum(amount), 0) FROM partner_usage_ledger
           WHERE {_OF_PAYER} AND metadata ->> 'origin' = '{ORIGIN}'
             AND metadata ->> 'refund_reason' IS NULL) AS taken_over
    """
)
_OPEN = text(
    """
    INSERT INTO credit_balances (payer_type, payer_id, current_balance) VALUES (:payer_type, :payer_id, 0)
    ON CONFLICT (payer_type, payer_id) DO NOTHING
    """
)
_CORRECT = text(
    """
    INSERT INTO credit_top_ups (payer_type, payer_id, amount, note)
    SELECT :payer_type, CAST(:payer_id AS uuid), CAST(:amount AS numeric), :note WHERE CAST(:amount AS numeric) <> 0
    """
)
_MOVE = text(
    f"UPDATE credit_balances SET current_balance = current_balance + :amount, updated_at = now() WHERE {_OF_PAYER}"
)
_EXPLAINED = text(
    f"""
    SELECT (SELECT current_balance FROM credit_balances WHERE {_OF_PAYER}) AS balance,
        (SELECT coalesce(sum(amount), 0) FROM credit_top_ups WHERE {_OF_PAYER})
        + (SELECT coalesce(sum(amount), 0) FROM partner_usage_ledger WHERE {_OF_PAYER}) AS explained
    """
)
