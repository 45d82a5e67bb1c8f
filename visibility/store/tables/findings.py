"""What was found in the answers, and what finding it cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from visibility.store.tables.base import Base, key, not_negative, now, one_of, zero_money


class BrandReading(Base):
    """Who reads the brands of an answer that several orgs share, or that they have been read (`read_at`)."""

    __tablename__ = "brand_readings"
    __table_args__ = not_negative("attempts")
    question_run_id: Mapped[UUID] = mapped_column(ForeignKey("question_runs.question_run_id"), primary_key=True)
    version: Mapped[str]
    reader: Mapped[str]
    expires_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    read_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class AnswerBrand(Base):
    __tablename__ = "answer_brands"
    __table_args__ = (
        UniqueConstraint("question_run_id", "name_key"),
        *not_negative("first_offset"),
        CheckConstraint("occurrences >= 1", name="occurrences_from_one"),
    )
    answer_brand_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    question_run_id: Mapped[UUID] = mapped_column(ForeignKey("question_runs.question_run_id"))
    name: Mapped[str]
    name_key: Mapped[str]
    first_offset: Mapped[int]
    occurrences: Mapped[int]


class OrgEval(Base):
    __tablename__ = "org_evals"
    __table_args__ = (
        UniqueConstraint("question_run_id", "org_id", "extractor_version"),
        one_of("sentiment", "positive", "neutral", "negative"),
        CheckConstraint("share_of_voice BETWEEN 0 AND 1", name="share_of_voice_range"),
        CheckConstraint("mention_rank >= 1", name="rank_from_one"),
        *not_negative("ungrounded", "input_tokens", "output_tokens", "cost_usd"),
        Index(None, "org_id", "created_at"),
    )
    evaluation_id: Mapped[UUID] = key()
    question_run_id: Mapped[UUID] = mapped_column(ForeignKey("question_runs.question_run_id"))
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.org_id"))
    extractor_version: Mapped[str]
    mentioned: Mapped[bool]
    reason: Mapped[str]
    citation: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    sentiment: Mapped[str | None]
    mention_text: Mapped[str | None]
    spans: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    mention_rank: Mapped[int | None]
    share_of_voice: Mapped[float | None] = mapped_column(Float)
    ungrounded: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    input_tokens: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    cost_usd: Mapped[Decimal] = zero_money()
    created_at: Mapped[datetime] = now()


class OrgCompetitor(Base):
    __tablename__ = "org_competitors"
    __table_args__ = (UniqueConstraint("evaluation_id", "name_key"), CheckConstraint("rank >= 1", name="rank_from_one"))
    org_competitor_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    evaluation_id: Mapped[UUID] = mapped_column(ForeignKey("org_evals.evaluation_id", ondelete="CASCADE"))
    name: Mapped[str]
    name_key: Mapped[str]
    rank: Mapped[int]


class OrgCitation(Base):
    __tablename__ = "org_citations"
    __table_args__ = (
        UniqueConstraint("evaluation_id", "url"),
        one_of("type", "primary", "secondary"),
        one_of("source", "vendor", "text"),
        CheckConstraint("position >= 1", name="position_from_one"),
    )
    org_citation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    evaluation_id: Mapped[UUID] = mapped_column(ForeignKey("org_evals.evaluation_id", ondelete="CASCADE"))
    url: Mapped[str]
    domain: Mapped[str]
    type: Mapped[str]
    position: Mapped[int]
    source: Mapped[str]


class LlmCallRow(Base):
    __tablename__ = "llm_calls"
    __table_args__ = (
        *not_negative("input_tokens", "cached_tokens", "output_tokens", "cost_usd", "latency_ms"),
        Index(None, "batch_id"),
    )
    call_id: Mapped[UUID] = key()
    purpose: Mapped[str]
    model: Mapped[str]
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("evaluation_batches.batch_id"))
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.org_id"))
    input_tokens: Mapped[int]
    cached_tokens: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    output_tokens: Mapped[int]
    cost_usd: Mapped[Decimal]
    price_table: Mapped[str]
    latency_ms: Mapped[int]
    created_at: Mapped[datetime] = now()
