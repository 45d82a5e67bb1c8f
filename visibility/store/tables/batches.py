"""Batches, their manifest of question runs, and the vendor jobs that answer them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from visibility.store.tables.base import EXACTLY_ONE_OWNER, Base, key, not_negative, now, one_of, zero_money


class Batch(Base):
    __tablename__ = "evaluation_batches"
    __table_args__ = (
        one_of("scope", "org", "network"),
        one_of("status", "pending", "running", "completed", "failed"),
        CheckConstraint(EXACTLY_ONE_OWNER, name="one_owner"),
        CheckConstraint("(scope = 'org') = (org_id IS NOT NULL)", name="scope_matches_owner"),
        Index(
            "uq_evaluation_batches_owner_date", "scope", text("coalesce(org_id, network_id)"), "run_date", unique=True
        ),
        Index("ix_evaluation_batches_created", "created_at"),
        Index("ix_evaluation_batches_leased", "lease_expires_at", postgresql_where=text("lease_owner IS NOT NULL")),
    )
    batch_id: Mapped[UUID] = key()
    scope: Mapped[str]
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.org_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    run_date: Mapped[date]
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    trigger: Mapped[str] = mapped_column(server_default=text("'manual'"))
    triggered_by: Mapped[str | None]
    user_id: Mapped[str | None]
    flow_run_id: Mapped[UUID | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    error: Mapped[str | None]
    sandbox: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = now()


class ReadingLease(Base):
    """Who reads answers for an org: those of a network's questions, or (no network) of its own."""

    __tablename__ = "reading_leases"
    __table_args__ = (
        Index(
            "uq_reading_leases_org_network",
            "org_id",
            text("coalesce(network_id, '00000000-0000-0000-0000-000000000000')"),
            unique=True,
        ),
    )
    lease_id: Mapped[UUID] = key()
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.org_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    flow_run_id: Mapped[UUID | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class ProviderJob(Base):
    __tablename__ = "provider_jobs"
    __table_args__ = (
        one_of("status", "submitting", "submitted", "ready", "fetched", "failed", "cancelled"),
        CheckConstraint(
            "snapshot_id IS NOT NULL OR status IN ('submitting', 'failed', 'cancelled')", name="submitted_has_snapshot"
        ),
        CheckConstraint("input_count > 0", name="input_count_positive"),
        Index(
            "ix_provider_jobs_open", "status", postgresql_where=text("status IN ('submitting', 'submitted', 'ready')")
        ),
    )
    job_id: Mapped[UUID] = key()
    provider: Mapped[str]
    dataset_id: Mapped[str]
    snapshot_id: Mapped[str | None] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default=text("'submitting'"))
    submitter: Mapped[str]
    input_count: Mapped[int]
    submitted_at: Mapped[datetime] = now()
    deadline_at: Mapped[datetime]
    fetched_at: Mapped[datetime | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class QuestionRunRow(Base):
    __tablename__ = "question_runs"
    __table_args__ = (
        one_of("status", "pending", "asked", "answered", "failed"),
        CheckConstraint("(status = 'answered') = (response_text IS NOT NULL)", name="answered_has_text"),
        CheckConstraint("status <> 'failed' OR error_code IS NOT NULL", name="failed_has_code"),
        CheckConstraint("replicate >= 1", name="replicate_from_one"),
        *not_negative("attempts", "input_tokens", "output_tokens", "cost_usd"),
        Index(  # coalesce, not NULLS NOT DISTINCT: that needs Postgres 15
            "uq_question_runs_manifest",
            "batch_id",
            "question_id",
            "model",
            "country_code",
            text("coalesce(region_name, '')"),
            text("coalesce(city, '')"),
            "replicate",
            unique=True,
        ),
        Index(None, "provider_job_id"),
        Index("ix_question_runs_question_answered", "question_id", "answered_at"),
    )
    question_run_id: Mapped[UUID] = key()
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("evaluation_batches.batch_id"))
    question_id: Mapped[UUID] = mapped_column(ForeignKey("geo_questions.question_id"))
    model: Mapped[str]
    country_code: Mapped[str]
    region_name: Mapped[str | None]
    city: Mapped[str | None]
    replicate: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    provider: Mapped[str | None]
    provider_job_id: Mapped[UUID | None] = mapped_column(ForeignKey("provider_jobs.job_id"))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    response_text: Mapped[str | None]
    answered_by: Mapped[str | None]
    grounded: Mapped[bool | None]
    provider_sources: Mapped[dict[str, Any] | None]
    applied_country: Mapped[str | None]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cost_usd: Mapped[Decimal] = zero_money()
    asked_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()
