"""What a batch came to, counted from its rows in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """Counts and sums of one batch; money in USD, times in UTC.

    `members` are the orgs it is evaluated for, now: of a batch of scope org its own, of a network those in it.
    `evaluated` counts their evaluations and `evaluated_orgs` those that have any; what was evaluated for an org
    that has left the network since counts among the costs and charges only.
    """

    batch_id: UUID
    scope: Literal["org", "network"]
    owner_id: UUID
    name: str
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
    members: int
    evaluated_orgs: int
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
    payers: tuple[str, ...]

    @property
    def org_id(self) -> UUID | None:
        """The org of a batch of scope org."""
        return self.owner_id if self.scope == "org" else None

    @property
    def org_name(self) -> str | None:
        """The name of the org of a batch of scope org."""
        return self.name if self.scope == "org" else None

    @property
    def payer(self) -> str | None:
        """Who was charged; of several the first. None before the first charge."""
        return self.payers[0] if self.payers else None


def batch_totals(session: Session, batch_id: UUID, extractor_version: str) -> BatchTotals:
    """Count a batch: every figure comes from the rows, none is kept beside them."""
    row = session.execute(_TOTALS, {"batch_id": batch_id, "version": extractor_version}).one()
    return BatchTotals(**{**row._mapping, "payers": tuple(row.payers)})


_TOTALS = text(
    """
    WITH run AS (SELECT * FROM question_runs WHERE batch_id = :batch_id),
    batch AS (SELECT * FROM evaluation_batches WHERE batch_id = :batch_id),
    owner AS (
        SELECT name FROM orgs JOIN batch USING (org_id)
        UNION ALL SELECT name FROM networks JOIN batch USING (network_id)),
    member AS (
        SELECT org_id FROM batch WHERE scope = 'org'
        UNION ALL SELECT orgs.org_id FROM orgs JOIN batch USING (network_id) WHERE deleted_at IS NULL),
    evaluation AS (
        SELECT found.* FROM org_evals found
        JOIN run USING (question_run_id) JOIN member ON member.org_id = found.org_id
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
               coalesce(array_agg(DISTINCT payer_type || ' ' || payer_id), '{}') AS payers
        FROM partner_usage_ledger WHERE batch_id = :batch_id AND kind = 'charge')
    SELECT batch.batch_id, batch.scope, coalesce(batch.org_id, batch.network_id) AS owner_id, owner.name,
        batch.flow_run_id, batch.run_date, batch.status, batch.error, batch.sandbox,
        batch.started_at, batch.completed_at,
        (SELECT count(*) FROM run) AS expected,
        (SELECT count(*) FROM run WHERE status = 'answered') AS answered,
        (SELECT count(*) FROM run WHERE status = 'answered' AND upper(applied_country) <> country_code)
            AS answered_elsewhere,
        failure.failed,
        (SELECT count(*) FROM member) AS members,
        (SELECT count(DISTINCT org_id) FROM evaluation) AS evaluated_orgs,
        (SELECT count(*) FROM evaluation) AS evaluated,
        (SELECT count(*) FROM evaluation WHERE mentioned) AS mentioned,
        (SELECT count(*) FROM org_competitors JOIN evaluation USING (evaluation_id)) AS competitors,
        (SELECT count(*) FROM org_citations JOIN evaluation USING (evaluation_id)) AS citations,
        (SELECT coalesce(sum(cost_usd), 0) FROM run) AS vendor_cost_usd,
        call.llm_calls, call.llm_tokens, call.llm_cost_usd, entry.charged_usd, entry.charges, entry.payers
    FROM batch CROSS JOIN owner CROSS JOIN failure CROSS JOIN call CROSS JOIN entry
    """
)
