"""What a batch came to, counted from its rows in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """Counts and sums of one batch of scope org; money in USD, times in UTC."""

    batch_id: UUID
    org_id: UUID
    org_name: str
    flow_run_id: UUID | None
    run_date: date
    status: str
    error: str | None
    sandbox: bool
    started_at: datetime | None
    completed_at: datetime | None
    expected: int
    answered: int
    answered_elsewhere: int
    failed: dict[str, int]
    evaluated: int
    mentioned: int
    competitors: int
    citations: int
    vendor_cost_usd: Decimal
    llm_calls: int
    llm_tokens: int
    llm_cost_usd: Decimal
    charged_usd: Decimal
    charges: int
    payer: str | None


def batch_totals(session: Session, batch_id: UUID, extractor_version: str) -> BatchTotals:
    """Count a batch: every figure comes from the rows, none is kept beside them."""
    row = session.execute(_TOTALS, {"batch_id": batch_id, "version": extractor_version}).one()
    return BatchTotals(**row._mapping)


_TOTALS = text(
    """
    WITH run AS (SELECT * FROM question_runs WHERE batch_id = :batch_id),
    evaluation AS (
        SELECT found.* FROM org_evals found
        JOIN run ON run.question_run_id = found.question_run_id
        JOIN evaluation_batches batch ON batch.batch_id = run.batch_id AND batch.org_id = found.org_id
        WHERE found.extractor_version = :version),
    failure AS (
        SELECT coalesce(jsonb_object_agg(code, number), '{}') AS failed FROM (
            SELECT coalesce(error_code, status) AS code, count(*) AS number
            FROM run WHERE status <> 'answered' GROUP BY 1) AS counted),
    call AS (
        SELECT count(*) AS llm_calls, coalesce(sum(input_tokens + output_tokens), 0) AS llm_tokens,
               coalesce(sum(cost_usd), 0) AS llm_cost_usd
        FROM llm_calls WHERE batch_id = :batch_id),
    entry AS (
        SELECT -coalesce(sum(amount), 0) AS charged_usd, count(*) AS charges,
               min(payer_type || ' ' || payer_id) AS payer
        FROM partner_usage_ledger WHERE batch_id = :batch_id AND kind = 'charge')
    SELECT batch.batch_id, batch.org_id, org.name AS org_name, batch.flow_run_id, batch.run_date,
        batch.status, batch.error, batch.sandbox,
        batch.started_at, batch.completed_at,
        (SELECT count(*) FROM run) AS expected,
        (SELECT count(*) FROM run WHERE status = 'answered') AS answered,
        (SELECT count(*) FROM run WHERE status = 'answered' AND upper(applied_country) <> country_code)
            AS answered_elsewhere,
        failure.failed,
        (SELECT count(*) FROM evaluation) AS evaluated,
        (SELECT count(*) FROM evaluation WHERE mentioned) AS mentioned,
        (SELECT count(*) FROM org_competitors JOIN evaluation USING (evaluation_id)) AS competitors,
        (SELECT count(*) FROM org_citations JOIN evaluation USING (evaluation_id)) AS citations,
        (SELECT coalesce(sum(cost_usd), 0) FROM run) AS vendor_cost_usd,
        call.llm_calls, call.llm_tokens, call.llm_cost_usd, entry.charged_usd, entry.charges, entry.payer
    FROM evaluation_batches batch
    JOIN orgs org ON org.org_id = batch.org_id
    CROSS JOIN failure CROSS JOIN call CROSS JOIN entry
    WHERE batch.batch_id = :batch_id
    """
)
