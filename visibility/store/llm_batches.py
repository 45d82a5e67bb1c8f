"""Batches of LLM requests: `submitting → submitted → fetched`, or `failed`, `expired`, `cancelled`.

A request is written before it is sent and unique by its key, so that of two processes that want the same reply only
one buys it. It is `open` in a batch that may still bring the reply; then `answered`, `refused` (the vendor does not
accept it, nothing was sold) or `left`: no batch brought it, and it is asked directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Float, cast, delete, func, select, text, update
from sqlalchemy.orm import Session

from visibility.store.tables import LlmBatch, LlmBatchRequest

NOBODY = ""
"""The submitter of a batch that its own has left."""

KEPT_DAYS = 4
"""Longer than the holds of who waits for a batch: a flow that is resumed under its hold finds its replies."""


@dataclass(frozen=True, slots=True)
class NewLlmBatch:
    """A batch to be submitted by this process."""

    llm_batch_id: UUID
    model: str
    submitter: str


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as it stands; `seconds` passed between writing and fetching its batch."""

    request_id: UUID
    request_key: str
    llm_batch_id: UUID
    state: str
    reply: str | None
    status: int | None
    error_code: str | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch as it stands; ages in seconds by the database's clock, `idle_seconds` since its submitter's last sign."""

    llm_batch_id: UUID
    state: str
    vendor_batch_id: str | None
    submitter: str
    created_at: datetime
    age_seconds: float
    idle_seconds: float

    @property
    def is_open(self) -> bool:
        return self.state in ("submitting", "submitted")


@dataclass(frozen=True, slots=True)
class Result:
    """What a batch brought for one request: the completion as JSON, or the refusal's HTTP status and code."""

    request_id: UUID
    reply: str | None
    status: int | None = None
    error_code: str | None = None


def claim(session: Session, new: NewLlmBatch, keys: Sequence[str]) -> list[RequestRow]:
    """Write the requests that nobody has written yet as those of a new batch; return where every one stands.

    One that was refused may be sent again. No batch is written when there is nothing to send. Batches of more than
    four days ago are deleted with their requests. Harmless to do twice.
    """
    session.execute(_FORGET, {"days": KEPT_DAYS})
    session.execute(_OPEN, {"id": new.llm_batch_id, "model": new.model, "submitter": new.submitter})
    session.execute(_CLAIM, {"id": new.llm_batch_id, "keys": sorted(keys)})
    found = outcomes(session, keys)
    ours = sum(row.llm_batch_id == new.llm_batch_id for row in found)
    if ours:
        session.execute(update(LlmBatch).where(LlmBatch.llm_batch_id == new.llm_batch_id).values(requests=ours))
    else:
        session.execute(delete(LlmBatch).where(LlmBatch.llm_batch_id == new.llm_batch_id))
    return found


def outcomes(session: Session, keys: Sequence[str]) -> list[RequestRow]:
    """Return those of the requests that are written."""
    return [RequestRow(**row._mapping) for row in session.execute(_OUTCOMES, {"keys": list(keys)})]


def load(session: Session, llm_batch_id: UUID) -> BatchRow | None:
    """Return one batch, or None when it is deleted."""
    row = session.execute(
        select(
            LlmBatch.llm_batch_id,
            LlmBatch.state,
            LlmBatch.vendor_batch_id,
            LlmBatch.submitter,
            LlmBatch.created_at,
            _seconds_since(LlmBatch.created_at).label("age_seconds"),
            _seconds_since(LlmBatch.seen_at).label("idle_seconds"),
        ).where(LlmBatch.llm_batch_id == llm_batch_id)
    ).one_or_none()
    return None if row is None else BatchRow(**row._mapping)


def keep(session: Session, llm_batch_id: UUID, submitter: str, *, input_file_id: str | None = None) -> bool:
    """Give a sign of life as the submitter; False when the batch is somebody else's by now."""
    known = {} if input_file_id is None else {"input_file_id": input_file_id}
    return _moved(session, llm_batch_id, submitter, {"seen_at": func.clock_timestamp(), **known})


def take_over(session: Session, llm_batch_id: UUID, submitter: str, from_submitter: str) -> bool:
    """Become the submitter in place of one that is gone; False when another process was faster."""
    return _moved(session, llm_batch_id, from_submitter, {"submitter": submitter, "seen_at": func.clock_timestamp()})


def save_vendor_batch(session: Session, llm_batch_id: UUID, submitter: str, vendor_batch_id: str) -> bool:
    """Save the id that the vendor gave; False when the submission was given up meanwhile."""
    values = {"state": "submitted", "vendor_batch_id": vendor_batch_id, "seen_at": func.clock_timestamp()}
    if _moved(session, llm_batch_id, submitter, values, state="submitting"):
        return True
    row = load(session, llm_batch_id)
    return row is not None and row.vendor_batch_id == vendor_batch_id


def release(session: Session, llm_batch_id: UUID, submitter: str) -> bool:
    """Delete a batch that the vendor never got, with its requests: they may be sent again."""
    deleted = session.execute(
        delete(LlmBatch)
        .where(LlmBatch.llm_batch_id == llm_batch_id, LlmBatch.submitter == submitter, LlmBatch.state == "submitting")
        .returning(LlmBatch.llm_batch_id)
    )
    return deleted.one_or_none() is not None


def finish(session: Session, llm_batch_id: UUID, state: str, results: Sequence[Result]) -> bool:
    """Store what the batch brought and close it; what it did not bring is left. False when it was closed before."""
    answered = sum(result.reply is not None for result in results)
    values: dict[str, Any] = {"state": state, "answered": answered, "closed_at": func.clock_timestamp()}
    closed = session.execute(
        update(LlmBatch)
        .where(LlmBatch.llm_batch_id == llm_batch_id, LlmBatch.closed_at.is_(None))
        .values(values)
        .returning(LlmBatch.llm_batch_id)
    )
    if closed.one_or_none() is None:
        return False
    session.execute(
        _STORE,
        {
            "id": llm_batch_id,
            "ids": [result.request_id for result in results],
            "replies": [result.reply for result in results],
            "statuses": [result.status for result in results],
            "codes": [result.error_code for result in results],
        },
    )
    session.execute(
        update(LlmBatchRequest)
        .where(LlmBatchRequest.llm_batch_id == llm_batch_id, LlmBatchRequest.state == "open")
        .values(state="left")
    )
    return True


def leave(session: Session, submitter: str) -> None:
    """Let others see through what this submitter has under way, without waiting for its signs of life to end."""
    session.execute(
        update(LlmBatch)
        .where(LlmBatch.submitter == submitter, LlmBatch.closed_at.is_(None))
        .values(submitter=NOBODY, seen_at=func.clock_timestamp())
    )


def _moved(
    session: Session, llm_batch_id: UUID, submitter: str, values: dict[str, Any], *, state: str | None = None
) -> bool:
    here = (LlmBatch.llm_batch_id == llm_batch_id, LlmBatch.submitter == submitter, LlmBatch.closed_at.is_(None))
    in_state = () if state is None else (LlmBatch.state == state,)
    moved = session.execute(update(LlmBatch).where(*here, *in_state).values(values).returning(LlmBatch.llm_batch_id))
    return moved.one_or_none() is not None


def _seconds_since(moment: Any) -> Any:
    return cast(func.extract("epoch", func.clock_timestamp() - moment), Float)


_FORGET = text(
    """
    DELETE FROM llm_batches WHERE llm_batch_id IN (
        SELECT llm_batch_id FROM llm_batches WHERE created_at < now() - make_interval(days => :days)
        FOR UPDATE SKIP LOCKED)
    """
)
_OPEN = text(
    """
    INSERT INTO llm_batches (llm_batch_id, model, submitter) VALUES (:id, :model, :submitter)
    ON CONFLICT (llm_batch_id) DO NOTHING
    """
)
_CLAIM = text(
    """
    INSERT INTO llm_batch_requests AS request (llm_batch_id, request_key)
    SELECT :id, request_key FROM unnest(CAST(:keys AS text[])) AS wanted(request_key)
    ON CONFLICT (request_key) DO UPDATE
        SET request_id = gen_random_uuid(), llm_batch_id = excluded.llm_batch_id, state = 'open', status = NULL,
            error_code = NULL
        WHERE request.state = 'refused'
    """
)
_OUTCOMES = text(
    """
    SELECT request_id, request_key, llm_batch_id, request.state, reply, status, error_code,
           CAST(extract(epoch FROM batch.closed_at - batch.created_at) AS double precision) AS seconds
    FROM llm_batch_requests AS request JOIN llm_batches AS batch USING (llm_batch_id)
    WHERE request_key = ANY(CAST(:keys AS text[]))
    """
)
_STORE = text(
    """
    UPDATE llm_batch_requests AS request
    SET state = CASE WHEN given.reply IS NULL THEN 'refused' ELSE 'answered' END,
        reply = given.reply, status = given.status, error_code = given.code
    FROM unnest(CAST(:ids AS uuid[]), CAST(:replies AS text[]), CAST(:statuses AS integer[]), CAST(:codes AS text[]))
        AS given(request_id, reply, status, code)
    WHERE request.request_id = given.request_id AND request.llm_batch_id = :id AND request.state = 'open'
    """
)
