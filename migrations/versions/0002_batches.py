"""Batches, question runs and vendor jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _provider_jobs()
    _evaluation_batches()
    _question_runs()


def _provider_jobs() -> None:
    op.create_table(
        "provider_jobs",
        sa.Column("job_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default=sa.text("'submitting'"), nullable=False),
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("input_count", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "snapshot_id IS NOT NULL OR status IN ('submitting', 'failed', 'cancelled')",
            name=op.f("ck_provider_jobs_submitted_has_snapshot"),
        ),
        sa.CheckConstraint(
            "status IN ('submitting', 'submitted', 'ready', 'fetched', 'failed', 'cancelled')",
            name=op.f("ck_provider_jobs_status_known"),
        ),
        sa.CheckConstraint("input_count > 0", name=op.f("ck_provider_jobs_input_count_positive")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_provider_jobs")),
        sa.UniqueConstraint("snapshot_id", name=op.f("uq_provider_jobs_snapshot_id")),
    )
    op.create_index(
        "ix_provider_jobs_open",
        "provider_jobs",
        ["status"],
        unique=False,
        postgresql_where=sa.text("status IN ('submitting', 'submitted', 'ready')"),
    )


def _evaluation_batches() -> None:
    op.create_table(
        "evaluation_batches",
        sa.Column("batch_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=True),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("run_date", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("trigger", sa.Text(), server_default=sa.text("'manual'"), nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("flow_run_id", sa.Uuid(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("sandbox", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(scope = 'org') = (org_id IS NOT NULL)", name=op.f("ck_evaluation_batches_scope_matches_owner")
        ),
        sa.CheckConstraint("scope IN ('org', 'network')", name=op.f("ck_evaluation_batches_scope_known")),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed')", name=op.f("ck_evaluation_batches_status_known")
        ),
        sa.CheckConstraint("(org_id IS NULL) <> (network_id IS NULL)", name=op.f("ck_evaluation_batches_one_owner")),
        sa.ForeignKeyConstraint(
            ["network_id"], ["networks.network_id"], name=op.f("fk_evaluation_batches_network_id_networks")
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_evaluation_batches_org_id_orgs")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_evaluation_batches")),
    )
    op.create_index(
        "ix_evaluation_batches_running",
        "evaluation_batches",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "uq_evaluation_batches_owner_date",
        "evaluation_batches",
        ["scope", sa.literal_column("coalesce(org_id, network_id)"), "run_date"],
        unique=True,
    )


def _question_runs() -> None:
    op.create_table(
        "question_runs",
        sa.Column("question_run_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("question_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("region_name", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("replicate", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("provider_job_id", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("response_text", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("grounded", sa.Boolean(), nullable=True),
        sa.Column("provider_sources", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("applied_country", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=6), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(status = 'answered') = (response_text IS NOT NULL)", name=op.f("ck_question_runs_answered_has_text")
        ),
        sa.CheckConstraint(
            "status <> 'failed' OR error_code IS NOT NULL", name=op.f("ck_question_runs_failed_has_code")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'asked', 'answered', 'failed')", name=op.f("ck_question_runs_status_known")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_question_runs_attempts_not_negative")),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_question_runs_cost_usd_not_negative")),
        sa.CheckConstraint("input_tokens >= 0", name=op.f("ck_question_runs_input_tokens_not_negative")),
        sa.CheckConstraint("output_tokens >= 0", name=op.f("ck_question_runs_output_tokens_not_negative")),
        sa.CheckConstraint("replicate >= 1", name=op.f("ck_question_runs_replicate_from_one")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["evaluation_batches.batch_id"], name=op.f("fk_question_runs_batch_id_evaluation_batches")
        ),
        sa.ForeignKeyConstraint(
            ["provider_job_id"], ["provider_jobs.job_id"], name=op.f("fk_question_runs_provider_job_id_provider_jobs")
        ),
        sa.ForeignKeyConstraint(
            ["question_id"], ["geo_questions.question_id"], name=op.f("fk_question_runs_question_id_geo_questions")
        ),
        sa.PrimaryKeyConstraint("question_run_id", name=op.f("pk_question_runs")),
    )
    op.create_index(op.f("ix_question_runs_provider_job_id"), "question_runs", ["provider_job_id"], unique=False)
    op.create_index("ix_question_runs_question_answered", "question_runs", ["question_id", "answered_at"], unique=False)
    op.create_index(
        "uq_question_runs_manifest",
        "question_runs",
        [
            "batch_id",
            "question_id",
            "model",
            "country_code",
            sa.literal_column("coalesce(region_name, '')"),
            sa.literal_column("coalesce(city, '')"),
            "replicate",
        ],
        unique=True,
    )
