"""Who pays for a batch's runs, at which pricing, and the payer's locked balance.

Lock order of everything that moves money, which keeps it free of deadlocks: the org (only a hold takes
it), then the one balance, then holds and ledger entries.
"""

from __future__ import annotations

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

    `shared_by`: the orgs among which the cost of one answer is divided. `held_by` and `quoted_price`
    are those of the latest hold of (batch, org), None before the first.
    """

    batch_id: UUID
    org_id: UUID
    org_name: str
    partner_id: UUID
    payer: Payer
    config: PricingConfig | None
    spend_limit: Decimal | None
    shared_by: int
    held_by: Payer | None
    quoted_price: Decimal | None


def who_pays(scope: Scope, *, is_free_tier: bool, org_id: UUID, partner_id: UUID) -> Payer:
    """Return the payer: the partner for network questions and for free-tier orgs, else the org."""
    if scope == "network" or is_free_tier:
        return Payer("PARTNER", partner_id)
    return Payer("ORG", org_id)


def load_terms(session: Session, batch_id: UUID, org_id: UUID | None = None, *, lock_org: bool = False) -> Terms:
    """Load the terms of an org in a batch in one statement; `org_id` may be left out for a batch of scope org.

    `lock_org` makes holds of one org wait for each other, so that its spend limit holds across payers.
    Raises InvalidInput for an unknown batch, or a network's batch without an org of that network.
    """
    statement = _TERMS_LOCKED if lock_org else _TERMS
    row = session.execute(statement, {"batch_id": batch_id, "org_id": org_id}).one_or_none()
    if row is None:
        whom = "its org" if org_id is None else f"org {org_id}"
        raise InvalidInput(f"There is no batch {batch_id} in which {whom} is evaluated.")
    return _terms(row)


def lock_balance(session: Session, payer: Payer) -> Decimal:
    """Lock the payer's balance until the transaction ends and return it, USD; no balance yet counts as 0."""
    balance: Decimal | None = session.execute(
        _LOCK_BALANCE, {"payer_type": payer.payer_type, "payer_id": payer.payer_id}
    ).scalar_one_or_none()
    return Decimal(0) if balance is None else balance


def _terms(row: Row[tuple[object, ...]]) -> Terms:
    config = None
    if row.fixed_price is not None:
        config = PricingConfig(row.partner_name, row.fixed_price, row.margin_pct, row.share_answer_cost)
    return Terms(
        batch_id=row.batch_id,
        org_id=row.org_id,
        org_name=row.org_name,
        partner_id=row.partner_id,
        payer=who_pays(row.scope, is_free_tier=row.is_free_tier, org_id=row.org_id, partner_id=row.partner_id),
        config=config,
        spend_limit=row.spend_limit,
        shared_by=row.network_orgs if config is None or config.share_answer_cost else 1,
        held_by=None if row.payer_id is None else Payer(row.payer_type, row.payer_id),
        quoted_price=row.quoted_price,
    )


_LOAD_TERMS = """
    SELECT batch.batch_id, batch.scope, org.org_id, org.name AS org_name, org.is_free_tier, org.spend_limit,
        partner.partner_id, partner.name AS partner_name,
        config.fixed_price, config.margin_pct, config.share_answer_cost,
        greatest(1, (SELECT count(*) FROM orgs member
                     WHERE member.network_id = batch.network_id AND member.deleted_at IS NULL)) AS network_orgs,
        latest.payer_type, latest.payer_id, latest.quoted_price
    FROM evaluation_batches batch
    JOIN orgs org ON org.org_id = coalesce(CAST(:org_id AS uuid), batch.org_id)
        AND (batch.org_id = org.org_id OR batch.network_id = org.network_id)
    JOIN partners partner ON partner.partner_id = org.partner_id
    LEFT JOIN pricing_configs config ON config.partner_id = org.partner_id AND config.action = 'question_run'
    LEFT JOIN LATERAL (
        SELECT hold.payer_type, hold.payer_id, hold.quoted_price FROM credit_holds hold
        WHERE hold.batch_id = batch.batch_id AND hold.org_id = org.org_id
        ORDER BY hold.status = 'active' DESC, hold.created_at DESC LIMIT 1) latest ON true
    WHERE batch.batch_id = :batch_id
"""
_TERMS = text(_LOAD_TERMS)
_TERMS_LOCKED = text(_LOAD_TERMS + " FOR NO KEY UPDATE OF org")
_LOCK_BALANCE = text(
    """
    SELECT current_balance FROM credit_balances
    WHERE payer_type = :payer_type AND payer_id = :payer_id FOR UPDATE
    """
)
