"""Who reads the brands of a shared answer, and what was read: one row per answer, its claim and its state.

Rows are locked in the order of their keys: two processes that want the same ones wait for each other, never both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from visibility.domain import Brand, LlmCall
from visibility.store.findings import as_brands, brands_of, replace_brands, save_calls
from visibility.store.tables import BrandReading


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who reads, with which extractor; a claim that is not renewed lapses after `seconds`.

    A reading that failed may be taken up again until it was tried `max_attempts` times. What another version has
    read since `started` is taken as it is: two versions that run side by side would replace each other's for ever.
    """

    reader: str
    version: str
    seconds: float
    max_attempts: int
    started: datetime


@dataclass(frozen=True, slots=True)
class Claims:
    """Every answer asked for, once: ours to read, read, failed for good (by code), or being read (by reader)."""

    taken: frozenset[UUID]
    read: dict[UUID, tuple[Brand, ...]] = field(default_factory=dict)
    failed: dict[UUID, str] = field(default_factory=dict)
    waiting: dict[UUID, str] = field(default_factory=dict)


def claim(session: Session, run_ids: Sequence[UUID], claimant: Claimant, *, dead_readers: Sequence[str] = ()) -> Claims:
    """Take the answers that nobody has read at this version and nobody is reading; return where the others stand.

    A claim that lapsed, is ours or belongs to one of `dead_readers` is taken over.
    """
    wanted: dict[str, Any] = {"run_ids": list(run_ids), "reader": claimant.reader, "version": claimant.version}
    limits = {"seconds": claimant.seconds, "max_attempts": claimant.max_attempts, "started": claimant.started}
    wanted |= {"dead_readers": list(dead_readers)}
    taken = frozenset(session.scalars(_CLAIM, {**wanted, **limits}))
    others = [run_id for run_id in run_ids if run_id not in taken]
    claims = Claims(taken)
    for reading, brands in session.execute(_states(others)) if others else ():
        is_current = reading.version == claimant.version
        if reading.read_at is not None:
            claims.read[reading.question_run_id] = as_brands(brands)
        elif is_current and reading.error_code is not None:
            claims.failed[reading.question_run_id] = reading.error_code
        else:
            claims.waiting[reading.question_run_id] = reading.reader
    return claims


def renew(session: Session, run_ids: Sequence[UUID], claimant: Claimant) -> None:
    """Keep the claims that are still ours from lapsing."""
    session.execute(_EXPIRE, {"run_ids": list(run_ids), "reader": claimant.reader, "seconds": claimant.seconds})


def release(session: Session, run_ids: Sequence[UUID], claimant: Claimant) -> None:
    """Let others read what we claimed and could not read."""
    session.execute(_EXPIRE, {"run_ids": list(run_ids), "reader": claimant.reader, "seconds": 0})


def save_readings(
    session: Session,
    claimant: Claimant,
    brands: Mapping[UUID, Sequence[Brand]],
    failed: Mapping[UUID, str],
    calls: Sequence[LlmCall],
) -> frozenset[UUID]:
    """Store brands in place of older ones, failures by code, and the calls; return whose brands were stored.

    Not stored are those of a claim that another reader has taken over: its brands count. The calls always are.
    """
    run_ids = sorted({*brands, *failed})
    codes = [failed.get(run_id) for run_id in run_ids]
    claimed = {"reader": claimant.reader, "version": claimant.version}
    closed = set(session.scalars(_CLOSE, {**claimed, "run_ids": run_ids, "codes": codes})) if run_ids else set()
    saved = {run_id: brands[run_id] for run_id in sorted(closed & brands.keys())}
    replace_brands(session, saved)
    save_calls(session, calls)
    return frozenset(saved)


def _states(run_ids: Sequence[UUID]) -> Select[tuple[BrandReading, Any]]:
    return select(BrandReading, brands_of(BrandReading.question_run_id)).where(
        BrandReading.question_run_id.in_(run_ids)
    )


_CLAIM: Any = text(
    """
    INSERT INTO brand_readings AS claimed (question_run_id, version, reader, expires_at)
    SELECT question_run_id, :version, :reader, now() + make_interval(secs => :seconds)
    FROM unnest(CAST(:run_ids AS uuid[])) AS wanted(question_run_id) ORDER BY question_run_id
    ON CONFLICT (question_run_id) DO UPDATE
        SET version = excluded.version, reader = excluded.reader, expires_at = excluded.expires_at,
            read_at = NULL, error_code = NULL,
            attempts = CASE WHEN claimed.version = excluded.version THEN claimed.attempts ELSE 0 END
        WHERE CASE
            WHEN claimed.read_at IS NOT NULL THEN claimed.version <> excluded.version AND claimed.read_at < :started
            WHEN claimed.error_code IS NOT NULL
                THEN claimed.version <> excluded.version OR claimed.attempts < :max_attempts
            ELSE claimed.expires_at <= now() OR claimed.reader = excluded.reader
                OR claimed.reader = ANY(CAST(:dead_readers AS text[]))
        END
    RETURNING question_run_id
    """
)
_OURS = """
    SELECT question_run_id FROM brand_readings
    WHERE question_run_id = ANY(CAST(:run_ids AS uuid[])) AND reader = :reader
      AND read_at IS NULL AND error_code IS NULL
"""
_EXPIRE = text(
    f"""
    WITH ours AS ({_OURS} ORDER BY question_run_id FOR UPDATE)
    UPDATE brand_readings AS reading SET expires_at = now() + make_interval(secs => :seconds)
    FROM ours WHERE reading.question_run_id = ours.question_run_id
    """
)
_CLOSE: Any = text(
    f"""
    WITH ours AS ({_OURS} AND version = :version ORDER BY question_run_id FOR UPDATE),
    given AS (SELECT * FROM unnest(CAST(:run_ids AS uuid[]), CAST(:codes AS text[])) AS given(question_run_id, code))
    UPDATE brand_readings AS reading
    SET read_at = CASE WHEN given.code IS NULL THEN now() END, error_code = given.code, attempts = attempts + 1
    FROM ours JOIN given USING (question_run_id) WHERE reading.question_run_id = ours.question_run_id
    RETURNING reading.question_run_id
    """
)
