"""Who reads a network's answers for an org, whose brands have been read, and views that show the newest reading."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _reading_leases()
    _brand_readings()
    # the latest quote of (batch, org), and the one in force when a run was evaluated
    op.create_index("ix_credit_holds_claim", "credit_holds", ["batch_id", "org_id", "created_at"], unique=False)
    op.execute(LATEST_ORG_EVALS)
    op.execute("DROP VIEW network_org_evals")
    op.execute(NETWORK_ORG_EVALS)


def _reading_leases() -> None:
    op.create_table(
        "reading_leases",
        sa.Column("lease_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("flow_run_id", sa.Uuid(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_reading_leases_org_id_orgs")),
        sa.ForeignKeyConstraint(
            ["network_id"], ["networks.network_id"], name=op.f("fk_reading_leases_network_id_networks")
        ),
        sa.PrimaryKeyConstraint("lease_id", name=op.f("pk_reading_leases")),
    )
    op.create_index(
        "uq_reading_leases_org_network",
        "reading_leases",
        ["org_id", sa.text("coalesce(network_id, '00000000-0000-0000-0000-000000000000')")],
        unique=True,
    )


def _brand_readings() -> None:
    op.create_table(
        "brand_readings",
        sa.Column("question_run_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_brand_readings_attempts_not_negative")),
        sa.ForeignKeyConstraint(
            ["question_run_id"],
            ["question_runs.question_run_id"],
            name=op.f("fk_brand_readings_question_run_id_question_runs"),
        ),
        sa.PrimaryKeyConstraint("question_run_id", name=op.f("pk_brand_readings")),
    )


# an answer that was read again, by a newer extractor, keeps its old rows; readers see the newest, which is
# switched by the transaction that writes it
LATEST_ORG_EVALS = """
CREATE VIEW latest_org_evals AS
SELECT evaluation.*
FROM org_evals AS evaluation
WHERE NOT EXISTS (
    SELECT FROM org_evals AS newer
    WHERE newer.question_run_id = evaluation.question_run_id AND newer.org_id = evaluation.org_id
      AND (newer.created_at, newer.evaluation_id) > (evaluation.created_at, evaluation.evaluation_id))
"""

NETWORK_ORG_EVALS = """
CREATE VIEW network_org_evals AS
SELECT evaluation.evaluation_id, batch.network_id, evaluation.org_id, run.batch_id, batch.run_date, batch.sandbox,
       run.question_id, evaluation.question_run_id, run.model, run.country_code, run.region_name, run.city,
       run.replicate, evaluation.extractor_version, evaluation.mentioned, evaluation.reason, evaluation.citation,
       evaluation.sentiment, evaluation.mention_text, evaluation.spans, evaluation.mention_rank,
       evaluation.share_of_voice, evaluation.input_tokens, evaluation.output_tokens, evaluation.cost_usd,
       evaluation.created_at
FROM latest_org_evals AS evaluation
JOIN question_runs AS run USING (question_run_id)
JOIN evaluation_batches AS batch USING (batch_id)
WHERE batch.scope = 'network'
"""
