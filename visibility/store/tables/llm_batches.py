"""Requests to the LLM that travel in batches of the vendor's Batch API, and what came back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from visibility.store.tables.base import Base, key, not_negative, now, one_of


class LlmBatch(Base):
    __tablename__ = "llm_batches"
    __table_args__ = (
        one_of("state", "submitting", "submitted", "fetched", "failed", "expired", "cancelled"),
        *not_negative("requests", "answered"),
        Index("uq_llm_batches_vendor_batch_id", "vendor_batch_id", unique=True),
        Index("ix_llm_batches_created", "created_at"),
    )
    llm_batch_id: Mapped[UUID] = key()
    model: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'submitting'"))
    vendor_batch_id: Mapped[str | None]
    input_file_id: Mapped[str | None]
    submitter: Mapped[str]
    seen_at: Mapped[datetime] = now()
    requests: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    answered: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class LlmBatchRequest(Base):
    """`request_key` is the hash of what is sent; `reply` the completion as JSON, not as jsonb, which refuses NUL."""

    __tablename__ = "llm_batch_requests"
    __table_args__ = (
        one_of("state", "open", "answered", "refused", "left"),
        Index("uq_llm_batch_requests_request_key", "request_key", unique=True),
        Index(None, "llm_batch_id"),
    )
    request_id: Mapped[UUID] = key()
    llm_batch_id: Mapped[UUID] = mapped_column(ForeignKey("llm_batches.llm_batch_id", ondelete="CASCADE"))
    request_key: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    reply: Mapped[str | None]
    status: Mapped[int | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime] = now()
