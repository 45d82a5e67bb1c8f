"""What was found in the answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _llm_calls()
    _answer_brands()
    _org_evals()
    _org_citations()
    _org_competitors()


def _llm_calls() -> None:
    op.create_table(
        "llm_calls",
        sa.Column("call_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("org_id", sa.Uuid(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("price_table", sa.Text(), nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cached_tokens >= 0", name=op.f("ck_llm_calls_cached_tokens_not_negative")),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_llm_calls_cost_usd_not_negative")),
        sa.CheckConstraint("input_tokens >= 0", name=op.f("ck_llm_calls_input_tokens_not_negative")),
        sa.CheckConstraint("latency_ms >= 0", name=op.f("ck_llm_calls_latency_ms_not_negative")),
        sa.CheckConstraint("output_tokens >= 0", name=op.f("ck_llm_calls_output_tokens_not_negative")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["evaluation_batches.batch_id"], name=op.f("fk_llm_calls_batch_id_evaluation_batches")
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_llm_calls_org_id_orgs")),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_llm_calls")),
    )
    op.create_index(op.f("ix_llm_calls_batch_id"), "llm_calls", ["batch_id"], unique=False)


def _answer_brands() -> None:
    op.create_table(
        "answer_brands",
        sa.Column("answer_brand_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("question_run_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("first_offset", sa.Integer(), nullable=False),
        sa.Column("occurrences", sa.Integer(), nullable=False),
        sa.CheckConstraint("first_offset >= 0", name=op.f("ck_answer_brands_first_offset_not_negative")),
        sa.CheckConstraint("occurrences >= 1", name=op.f("ck_answer_brands_occurrences_from_one")),
        sa.ForeignKeyConstraint(
            ["question_run_id"],
            ["question_runs.question_run_id"],
            name=op.f("fk_answer_brands_question_run_id_question_runs"),
        ),
        sa.PrimaryKeyConstraint("answer_brand_id", name=op.f("pk_answer_brands")),
        sa.UniqueConstraint("question_run_id", "name_key", name=op.f("uq_answer_brands_question_run_id_name_key")),
    )


def _org_evals() -> None:
    op.create_table(
        "org_evals",
        sa.Column("evaluation_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("question_run_id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("extractor_version", sa.Text(), nullable=False),
        sa.Column("mentioned", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("citation", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sentiment", sa.Text(), nullable=True),
        sa.Column("mention_text", sa.Text(), nullable=True),
        sa.Column("spans", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("mention_rank", sa.Integer(), nullable=True),
        sa.Column("share_of_voice", sa.Float(), nullable=True),
        sa.Column("ungrounded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("input_tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("output_tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "sentiment IN ('positive', 'neutral', 'negative')", name=op.f("ck_org_evals_sentiment_known")
        ),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_org_evals_cost_usd_not_negative")),
        sa.CheckConstraint("input_tokens >= 0", name=op.f("ck_org_evals_input_tokens_not_negative")),
        sa.CheckConstraint("mention_rank >= 1", name=op.f("ck_org_evals_rank_from_one")),
        sa.CheckConstraint("output_tokens >= 0", name=op.f("ck_org_evals_output_tokens_not_negative")),
        sa.CheckConstraint("share_of_voice BETWEEN 0 AND 1", name=op.f("ck_org_evals_share_of_voice_range")),
        sa.CheckConstraint("ungrounded >= 0", name=op.f("ck_org_evals_ungrounded_not_negative")),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_org_evals_org_id_orgs")),
        sa.ForeignKeyConstraint(
            ["question_run_id"],
            ["question_runs.question_run_id"],
            name=op.f("fk_org_evals_question_run_id_question_runs"),
        ),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_org_evals")),
        sa.UniqueConstraint(
            "question_run_id",
            "org_id",
            "extractor_version",
            name=op.f("uq_org_evals_question_run_id_org_id_extractor_version"),
        ),
    )
    op.create_index(
        op.f("ix_org_evals_org_id_org_evals_created_at"), "org_evals", ["org_id", "created_at"], unique=False
    )


def _org_citations() -> None:
    op.create_table(
        "org_citations",
        sa.Column("org_citation_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("evaluation_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("source IN ('vendor', 'text')", name=op.f("ck_org_citations_source_known")),
        sa.CheckConstraint("type IN ('primary', 'secondary')", name=op.f("ck_org_citations_type_known")),
        sa.CheckConstraint("position >= 1", name=op.f("ck_org_citations_position_from_one")),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["org_evals.evaluation_id"],
            name=op.f("fk_org_citations_evaluation_id_org_evals"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_citation_id", name=op.f("pk_org_citations")),
        sa.UniqueConstraint("evaluation_id", "url", name=op.f("uq_org_citations_evaluation_id_url")),
    )


def _org_competitors() -> None:
    op.create_table(
        "org_competitors",
        sa.Column("org_competitor_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("evaluation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_org_competitors_rank_from_one")),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["org_evals.evaluation_id"],
            name=op.f("fk_org_competitors_evaluation_id_org_evals"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("org_competitor_id", name=op.f("pk_org_competitors")),
        sa.UniqueConstraint("evaluation_id", "name_key", name=op.f("uq_org_competitors_evaluation_id_name_key")),
    )
