"""Prices, balances, holds and the ledger; USD."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from visibility.store.tables.base import Base, key, not_blank, not_negative, now, one_of


class PricingConfig(Base):
    __tablename__ = "pricing_configs"
    __table_args__ = (
        UniqueConstraint("partner_id", "action"),
        not_blank("action"),
        *not_negative("fixed_price"),
    )
    pricing_config_id: Mapped[UUID] = key()
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partners.partner_id"))
    action: Mapped[str]
    fixed_price: Mapped[Decimal]
    margin_pct: Mapped[Decimal | None] = mapped_column(Numeric(8, 6))
    share_answer_cost: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = now()


class CreditBalance(Base):
    __tablename__ = "credit_balances"
    __table_args__ = (
        UniqueConstraint("payer_type", "payer_id"),
        one_of("payer_type", "ORG", "PARTNER"),
        *not_negative("current_balance"),
    )
    credit_balance_id: Mapped[UUID] = key()
    payer_type: Mapped[str]
    payer_id: Mapped[UUID]
    current_balance: Mapped[Decimal]
    created_at: Mapped[datetime] = now()
    updated_at: Mapped[datetime] = now()


class CreditTopUp(Base):
    """What was paid in: Σ ledger + Σ top-ups = current_balance."""

    __tablename__ = "credit_top_ups"
    __table_args__ = (one_of("payer_type", "ORG", "PARTNER"), Index(None, "payer_type", "payer_id"))
    top_up_id: Mapped[UUID] = key()
    payer_type: Mapped[str]
    payer_id: Mapped[UUID]
    amount: Mapped[Decimal]
    note: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class CreditHold(Base):
    __tablename__ = "credit_holds"
    __table_args__ = (
        one_of("payer_type", "ORG", "PARTNER"),
        one_of("status", "active", "settled", "released"),
        *not_negative("amount", "quoted_price"),
        Index("uq_credit_holds_active", "batch_id", "org_id", unique=True, postgresql_where=text("status = 'active'")),
        Index("ix_credit_holds_payer_active", "payer_type", "payer_id", postgresql_where=text("status = 'active'")),
        Index("ix_credit_holds_claim", "batch_id", "org_id", "created_at"),
    )
    hold_id: Mapped[UUID] = key()
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("evaluation_batches.batch_id"))
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.org_id"))
    payer_type: Mapped[str]
    payer_id: Mapped[UUID]
    amount: Mapped[Decimal]
    quoted_price: Mapped[Decimal]
    status: Mapped[str] = mapped_column(server_default=text("'active'"))
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class LedgerEntry(Base):
    __tablename__ = "partner_usage_ledger"
    __table_args__ = (
        UniqueConstraint("source_type", "source_id", "org_id", "kind"),
        one_of("payer_type", "ORG", "PARTNER"),
        one_of("kind", "charge", "refund"),
        CheckConstraint("(kind = 'charge' AND amount <= 0) OR (kind = 'refund' AND amount >= 0)", name="amount_sign"),
        Index(None, "batch_id"),
        Index(None, "payer_type", "payer_id"),
        Index("ix_partner_usage_ledger_org", "org_id"),
    )
    entry_id: Mapped[UUID] = key()
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.org_id"))
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partners.partner_id"))
    payer_type: Mapped[str]
    payer_id: Mapped[UUID]
    amount: Mapped[Decimal]
    kind: Mapped[str] = mapped_column(server_default=text("'charge'"))
    source_type: Mapped[str]
    source_id: Mapped[UUID]
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("evaluation_batches.batch_id"))
    details: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime] = now()
