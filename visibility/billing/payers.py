"""Who pays for a batch's runs, at which pricing, and the payers' locked balances.

Lock order of everything that moves money, which keeps it free of deadlocks: the orgs in the order of their
ids (whatever makes or closes holds of several orgs takes them), then the balances in the order of theirs,
then holds and ledger entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.billing.pricing import PricingConfig
from visibility.domain import PayerType
from visibility.errors import InvalidInput

Scope = Literal["org", "network"]


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose balance is checked and debited."""

    payer_type: PayerType
    payer_id: UUID

    def __str__(self) -> str:
        return f"{self.payer_type} {self.payer_id}"


@dataclass(frozen=True, slots=True)
class Terms:
    """How one org's evaluations of a batch are paid for; `spend_limit` in USD.

    `sharers`: the present members of the network among which the cost of one answer is divided; None where it
    is not divided. `held_by` and `quoted_price` are those of the latest hold of (batch, org), None before one.
    """

    batch_id: UUID
    org_id: UUID
    org_name: str
    partner_id: UUID
    payer: Payer
    config: PricingConfig | None
    spend_limit: Decimal | None
    sharers: int | None
    held_by: Payer | None
    quoted_price: Decimal | None


def who_pays(scope: Scope, *, is_free_tier: bool, org_id: UUID, partner_id: UUID) -> Payer:
    """Return the payer: the partner for network questions and for free-tier orgs, else the org."""
    if scope == "network" or is_free_tier:
        return Payer("PARTNER", partner_id)
    return Payer("ORG", org_id)


def load_terms(session: Session, batch_id: UUID, org_id: UUID | None = None) -> Terms:
    """Load the terms of an org in a batch in one statement; `org_id` may be left out for a batch of scope org.

    Knows also orgs that have left the network after a hold. Raises InvalidInput for an unknown batch, or
    a network's batch without an org of that network.
    """
    row = session.execute(_TERMS, {"batches": [batch_id], "orgs": [org_id]}).one_or_none()
    if row is None:
        raise _no_such_claim(batch_id, org_id)
    return _terms(row)


def lock_terms(session: Session, claims: Sequence[tuple[UUID, UUID | None]]) -> list[Terms]:
    """Load the terms of (batch, org) pairs in one statement and lock their orgs until the transaction ends.

    Holds of one org wait for each other, so that its spend limit holds across payers. Sorted by org. Raises
    InvalidInput when one of them is an unknown batch, or an org outside of the batch's network.
    """
    rows = session.execute(
        _TERMS_LOCKED, {"batches": [batch for batch, _ in claims], "orgs": [org for _, org in claims]}
    )
    terms = [_terms(row) for row in rows]
    found = {(one.batch_id, org_id) for one in terms for org_id in (one.org_id, None)}
    for batch_id, org_id in claims:
        if (batch_id, org_id) not in found:
            raise _no_such_claim(batch_id, org_id)
    return terms


def lock_holding_orgs(session: Session, batch_id: UUID) -> list[UUID]:
    """Lock the orgs with an active hold on the batch until the transaction ends; return their ids in order."""
    return list(session.execute(_LOCK_HOLDING_ORGS, {"batch_id": batch_id}).scalars())


def lock_balances(session: Session, payers: Iterable[Payer]) -> dict[Payer, Decimal]:
    """Lock the payers' balances until the transaction ends and return them, USD; no balance yet counts as 0."""
    balances = dict.fromkeys(payers, Decimal(0))
    given = {"types": [payer.payer_type for payer in balances], "payers": [payer.payer_id for payer in balances]}
    for row in session.execute(_LOCK_BALANCES, given):
        balances[Payer(row.payer_type, row.payer_id)] = row.current_balance
    return balances


def lock_balance(session: Session, payer: Payer) -> Decimal:
    """Lock one payer's balance, as `lock_balances`."""
    return lock_balances(session, [payer])[payer]


def _no_such_claim(batch_id: UUID, org_id: UUID | None) -> InvalidInput:
    whom = "its org" if org_id is None else f"org {org_id}"
    return InvalidInput(f"There is no batch {batch_id} in which {whom} is evaluated.")


def _terms(row: Row[tuple[object, ...]]) -> Terms:
    config = None
    if row.fixed_price is not None:
        config = PricingConfig(row.partner_name, row.fixed_price, row.margin_pct, row.share_answer_cost)
    shares = row.scope == "network" and (config is None or config.share_answer_cost)
    return Terms(
        batch_id=row.batch_id,
        org_id=row.org_id,
        org_name=row.org_name,
        partner_id=row.partner_id,
        payer=who_pays(row.scope, is_free_tier=row.is_free_tier, org_id=row.org_id, partner_id=row.partner_id),
        config=config,
        spend_limit=row.spend_limit,
        sharers=row.members if shares else None,
        held_by=None if row.payer_id is None else Payer(row.payer_type, row.payer_id),
        quoted_price=row.quoted_price,
    )


# whoever has left the network is charged at the terms of the hold that was made before
_LOAD_TERMS = """
    SELECT batch.batch_id, batch.scope, org.org_id, org.name AS org_name, org.is_free_tier, org.spend_limit,
        partner.partner_id, partner.name AS partner_name,
        config.fixed_price, config.margin_pct, config.share_answer_cost,
        (SELECT count(*) FROM orgs member
         WHERE member.network_id = batch.network_id AND member.deleted_at IS NULL) AS members,
        latest.payer_type, latest.payer_id, latest.quoted_price
    FROM unnest(CAST(:batches AS uuid[]), CAST(:orgs AS uuid[])) AS claim (batch_id, org_id)
    JOIN evaluation_batches batch ON batch.batch_id = claim.batch_id
    JOIN orgs org ON org.org_id = coalesce(claim.org_id, batch.org_id)
    JOIN partners partner ON partner.partner_id = org.partner_id
    LEFT JOIN pricing_configs config ON config.partner_id = org.partner_id AND config.action = 'question_run'
    LEFT JOIN LATERAL (
        SELECT hold.payer_type, hold.payer_id, hold.quoted_price FROM credit_holds hold
        WHERE hold.batch_id = batch.batch_id AND hold.org_id = org.org_id
        ORDER BY hold.status = 'active' DESC, hold.created_at DESC LIMIT 1) latest ON true
    WHERE (batch.org_id = org.org_id OR batch.network_id = org.network_id{otherwise})
"""
_TERMS = text(_LOAD_TERMS.format(otherwise=" OR latest.payer_id IS NOT NULL"))
_TERMS_LOCKED = text(_LOAD_TERMS.format(otherwise="") + " ORDER BY org.org_id FOR NO KEY UPDATE OF org")
_LOCK_HOLDING_ORGS = text(
    """
    SELECT org_id FROM orgs
    WHERE org_id IN (SELECT org_id FROM credit_holds WHERE batch_id = :batch_id AND status = 'active')
    ORDER BY org_id FOR NO KEY UPDATE
    """
)
_LOCK_BALANCES = text(
    """
    SELECT balance.payer_type, balance.payer_id, balance.current_balance
    FROM unnest(CAST(:types AS text[]), CAST(:payers AS uuid[])) AS payer (payer_type, payer_id)
    JOIN credit_balances balance USING (payer_type, payer_id)
    ORDER BY balance.payer_id, balance.payer_type FOR UPDATE OF balance
    """
)
