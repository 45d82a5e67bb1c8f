"""What a shard came to: how the flow of each of its orgs ended, and the sums."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from visibility.errors import BatchFailed
from visibility.summary import OrgEvaluationSummary, ratio

LISTED_ORGS = 5  # in the reason of a failed shard; the summary has them all


class OrgEnd(BaseModel):
    """How one org's flow ended; counts and costs (USD) are those of its batch of the day, 0 where it has none.

    `state` is that of the flow run: completed, failed, crashed or cancelled; `reason` says why it is not completed.
    """

    model_config = ConfigDict(frozen=True)

    org_id: UUID
    org_name: str | None = None
    state: str
    reason: str | None = None
    flow_run_id: UUID | None = None
    expected: int = 0
    answered: int = 0
    evaluated: int = 0
    vendor_cost_usd: Decimal = Decimal(0)
    llm_cost_usd: Decimal = Decimal(0)
    charged_usd: Decimal = Decimal(0)

    @property
    def failed(self) -> bool:
        """True for every end but a good one."""
        return self.state != "completed"


def org_end(
    org_id: UUID, state: str, flow_run_id: UUID | None, summary: OrgEvaluationSummary | None, reason: str | None
) -> OrgEnd:
    """Return how an org's flow ended; `summary` is that of its batch, None when the flow broke before or amid it."""
    end = OrgEnd(org_id=org_id, state=state, reason=reason, flow_run_id=flow_run_id)
    if summary is None:
        return end
    shared = OrgEnd.model_fields.keys() & OrgEvaluationSummary.model_fields.keys() - end.model_fields_set
    return end.model_copy(update={name: getattr(summary, name) for name in shared})


class ShardSummary(BaseModel):
    """The orgs of a shard with their ends, those that failed first; sums over them, costs in USD, time in seconds."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: UUID | None
    run_date: date
    sandbox: bool
    status: Literal["completed", "failed"]
    reason: str | None
    orgs: int
    expected: int
    answered: int
    evaluated: int
    vendor_cost_usd: Decimal
    llm_cost_usd: Decimal
    charged_usd: Decimal
    duration_seconds: float
    ends: list[OrgEnd]

    @property
    def completed(self) -> int:
        """How many orgs are completed."""
        return self.orgs - self.failed

    @property
    def failed(self) -> int:
        """How many orgs are not completed."""
        return sum(end.failed for end in self.ends)

    @property
    def coverage(self) -> float | None:
        """Answered ÷ expected, 0–1; None where nothing was expected."""
        return self.answered / self.expected if self.expected else None

    def raise_if_failed(self) -> ShardSummary:
        """Return the summary of a shard that did its work; raise BatchFailed where too many orgs failed."""
        if self.status == "failed":
            raise BatchFailed(self.reason or "The shard failed.", summary=self)
        return self


def summarise_shard(
    ends: Sequence[OrgEnd],
    run_date: date,
    *,
    sandbox: bool,
    failed_orgs_threshold: float,
    flow_run_id: UUID | None,
    duration_seconds: float,
) -> ShardSummary:
    """Sum up; a shard has failed when more than the threshold (0–1) of its orgs have."""
    failed = [end for end in ends if end.failed]
    too_many = ratio(len(failed), len(ends)) > failed_orgs_threshold if ends else False
    return ShardSummary(
        flow_run_id=flow_run_id,
        run_date=run_date,
        sandbox=sandbox,
        status="failed" if too_many else "completed",
        reason=_reason(failed, len(ends)) if too_many else None,
        orgs=len(ends),
        expected=sum(end.expected for end in ends),
        answered=sum(end.answered for end in ends),
        evaluated=sum(end.evaluated for end in ends),
        vendor_cost_usd=sum((end.vendor_cost_usd for end in ends), Decimal(0)),
        llm_cost_usd=sum((end.llm_cost_usd for end in ends), Decimal(0)),
        charged_usd=sum((end.charged_usd for end in ends), Decimal(0)),
        duration_seconds=duration_seconds,
        ends=sorted(ends, key=lambda end: (not end.failed, end.org_name or str(end.org_id))),
    )


def _reason(failed: Sequence[OrgEnd], orgs: int) -> str:
    named = "; ".join(f"{end.org_name or end.org_id}: {end.reason}" for end in failed[:LISTED_ORGS])
    more = f"; and {len(failed) - LISTED_ORGS} more" if len(failed) > LISTED_ORGS else ""
    return f"{len(failed)} of {orgs} orgs could not be evaluated ({named}{more}). Run it again to do the rest."
