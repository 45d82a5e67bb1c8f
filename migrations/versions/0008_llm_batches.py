"""Requests to the LLM that travel in batches of the vendor's Batch API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

NOW = sa.text("now()")


def upgrade() -> None:
    _batches()
    _requests()


def _batches() -> None:
    op.create_table(
        "llm_batches",
        sa.Column("llm_batch_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'submitting'"), nullable=False),
        sa.Column("vendor_batch_id", sa.Text(), nullable=True),
        sa.Column("input_file_id", sa.Text(), nullable=True),
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("requests", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("answered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('submitting', 'submitted', 'fetched', 'failed', 'expired', 'cancelled')",
            name=op.f("ck_llm_batches_state_known"),
        ),
        sa.CheckConstraint("requests >= 0", name=op.f("ck_llm_batches_requests_not_negative")),
        sa.CheckConstraint("answered >= 0", name=op.f("ck_llm_batches_answered_not_negative")),
        sa.PrimaryKeyConstraint("llm_batch_id", name=op.f("pk_llm_batches")),
    )
    op.create_index("uq_llm_batches_vendor_batch_id", "llm_batches", ["vendor_batch_id"], unique=True)
    op.create_index("ix_llm_batches_created", "llm_batches", ["created_at"], unique=False)


def _requests() -> None:
    op.create_table(
        "llm_batch_requests",
        sa.Column("request_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("llm_batch_id", sa.Uuid(), nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'answered', 'refused', 'left')", name=op.f("ck_llm_batch_requests_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["llm_batch_id"],
            ["llm_batches.llm_batch_id"],
            name=op.f("fk_llm_batch_requests_llm_batch_id_llm_batches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_llm_batch_requests")),
    )
    op.create_index("uq_llm_batch_requests_request_key", "llm_batch_requests", ["request_key"], unique=True)
    op.create_index(op.f("ix_llm_batch_requests_llm_batch_id"), "llm_batch_requests", ["llm_batch_id"], unique=False)
