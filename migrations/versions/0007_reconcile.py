"""What reconcile looks for: batches of the last days, and leases that nobody has given back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.drop_index("ix_evaluation_batches_running", table_name="evaluation_batches")
    op.create_index("ix_evaluation_batches_created", "evaluation_batches", ["created_at"], unique=False)
    op.create_index(
        "ix_evaluation_batches_leased",
        "evaluation_batches",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
