"""Prices, balances, holds and the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    _credit_balances()
    _credit_top_ups()
    _pricing_configs()
    _credit_holds()
    _partner_usage_ledger()


def _credit_balances() -> None:
    op.create_table(
        "credit_balances",
        sa.Column("credit_balance_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("payer_type", sa.Text(), nullable=False),
        sa.Column("payer_id", sa.Uuid(), nullable=False),
        sa.Column("current_balance", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("payer_type IN ('ORG', 'PARTNER')", name=op.f("ck_credit_balances_payer_type_known")),
        sa.CheckConstraint("current_balance >= 0", name=op.f("ck_credit_balances_current_balance_not_negative")),
        sa.PrimaryKeyConstraint("credit_balance_id", name=op.f("pk_credit_balances")),
        sa.UniqueConstraint("payer_type", "payer_id", name=op.f("uq_credit_balances_payer_type_payer_id")),
    )


def _credit_top_ups() -> None:
    op.create_table(
        "credit_top_ups",
        sa.Column("top_up_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("payer_type", sa.Text(), nullable=False),
        sa.Column("payer_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("payer_type IN ('ORG', 'PARTNER')", name=op.f("ck_credit_top_ups_payer_type_known")),
        sa.PrimaryKeyConstraint("top_up_id", name=op.f("pk_credit_top_ups")),
    )
    op.create_index(
        op.f("ix_credit_top_ups_payer_type_credit_top_ups_payer_id"),
        "credit_top_ups",
        ["payer_type", "payer_id"],
        unique=False,
    )


def _pricing_configs() -> None:
    op.create_table(
        "pricing_configs",
        sa.Column("pricing_config_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("fixed_price", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("margin_pct", sa.Numeric(precision=8, scale=6), nullable=True),
        sa.Column("share_answer_cost", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("fixed_price >= 0", name=op.f("ck_pricing_configs_fixed_price_not_negative")),
        sa.CheckConstraint("length(trim(action)) > 0", name=op.f("ck_pricing_configs_action_not_blank")),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partners.partner_id"], name=op.f("fk_pricing_configs_partner_id_partners")
        ),
        sa.PrimaryKeyConstraint("pricing_config_id", name=op.f("pk_pricing_configs")),
        sa.UniqueConstraint("partner_id", "action", name=op.f("uq_pricing_configs_partner_id_action")),
    )


def _credit_holds() -> None:
    op.create_table(
        "credit_holds",
        sa.Column("hold_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("payer_type", sa.Text(), nullable=False),
        sa.Column("payer_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("quoted_price", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("payer_type IN ('ORG', 'PARTNER')", name=op.f("ck_credit_holds_payer_type_known")),
        sa.CheckConstraint("status IN ('active', 'settled', 'released')", name=op.f("ck_credit_holds_status_known")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_credit_holds_amount_not_negative")),
        sa.CheckConstraint("quoted_price >= 0", name=op.f("ck_credit_holds_quoted_price_not_negative")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["evaluation_batches.batch_id"], name=op.f("fk_credit_holds_batch_id_evaluation_batches")
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_credit_holds_org_id_orgs")),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_credit_holds")),
    )
    op.create_index(
        "ix_credit_holds_payer_active",
        "credit_holds",
        ["payer_type", "payer_id"],
        unique=False,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "uq_credit_holds_active",
        "credit_holds",
        ["batch_id", "org_id"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
    )


def _partner_usage_ledger() -> None:
    op.create_table(
        "partner_usage_ledger",
        sa.Column("entry_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("payer_type", sa.Text(), nullable=False),
        sa.Column("payer_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'charge'"), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(kind = 'charge' AND amount <= 0) OR (kind = 'refund' AND amount >= 0)",
            name=op.f("ck_partner_usage_ledger_amount_sign"),
        ),
        sa.CheckConstraint("kind IN ('charge', 'refund')", name=op.f("ck_partner_usage_ledger_kind_known")),
        sa.CheckConstraint("payer_type IN ('ORG', 'PARTNER')", name=op.f("ck_partner_usage_ledger_payer_type_known")),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["evaluation_batches.batch_id"],
            name=op.f("fk_partner_usage_ledger_batch_id_evaluation_batches"),
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_partner_usage_ledger_org_id_orgs")),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partners.partner_id"], name=op.f("fk_partner_usage_ledger_partner_id_partners")
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_partner_usage_ledger")),
        sa.UniqueConstraint(
            "source_type",
            "source_id",
            "org_id",
            "kind",
            name=op.f("uq_partner_usage_ledger_source_type_source_id_org_id_kind"),
        ),
    )
    op.create_index(op.f("ix_partner_usage_ledger_batch_id"), "partner_usage_ledger", ["batch_id"], unique=False)
    op.create_index("ix_partner_usage_ledger_org", "partner_usage_ledger", ["org_id"], unique=False)
    op.create_index(
        op.f("ix_partner_usage_ledger_payer_type_partner_usage_ledger_payer_id"),
        "partner_usage_ledger",
        ["payer_type", "payer_id"],
        unique=False,
    )
