"""What an org's batch came to: the typed result that flows return, commands print and artifacts show."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from visibility.errors import BatchFailed
from visibility.metrics import Figure, OrgMetrics, metrics_by, org_metrics
from visibility.store.batches import finish
from visibility.store.leases import HeldLease, lease_lost
from visibility.store.results import Results, load_results, top_cited_domains, top_competitors
from visibility.store.summaries import BatchTotals, batch_totals

LISTED = 6

BatchStatus = Literal["pending", "running", "completed", "failed"]


class Counted(BaseModel):
    """A competitor or a domain, found in `answers` of `n` evaluated answers."""

    name: str
    answers: int
    n: int


class Named(BaseModel):
    """What the answers of one model name most: competitors, cited domains."""

    competitors: list[Counted]
    domains: list[Counted]


class OrgEvaluationSummary(BaseModel):
    """Counts, costs (USD) and figures of one batch; ratios 0–1, failures by error code, times in seconds."""

    model_config = ConfigDict(frozen=True)

    batch_id: UUID
    flow_run_id: UUID | None
    org_id: UUID
    org_name: str
    run_date: date
    status: BatchStatus
    reason: str | None
    sandbox: bool
    expected: int
    answered: int
    failed: dict[str, int]
    coverage: float | None
    answered_elsewhere: int = 0
    evaluated: int
    unevaluated: int
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
    duration_seconds: float | None
    figures: dict[str, Figure]
    by_model: dict[str, dict[str, Figure]]
    by_location: dict[str, dict[str, Figure]]
    by_model_and_location: dict[str, dict[str, Figure]] = {}
    top_competitors: list[Counted]
    top_domains: list[Counted]
    named_by_model: dict[str, Named] = {}

    def raise_if_failed(self) -> OrgEvaluationSummary:
        """Return the summary of a completed batch; raise BatchFailed for a failed one."""
        if self.status == "failed":
            raise BatchFailed(self.reason or "The batch failed.", summary=self)
        return self


def complete(
    session: Session, held: HeldLease, extractor_version: str, *, coverage_threshold: float
) -> OrgEvaluationSummary:
    """Set the org's batch completed or failed by its coverage, and summarise it. Raises LeaseLost."""
    totals = close(session, held, extractor_version, coverage_threshold=coverage_threshold)
    return summarise(session, totals, extractor_version)


def close(session: Session, held: HeldLease, extractor_version: str, *, coverage_threshold: float) -> BatchTotals:
    """Set the batch completed or failed by its coverage, and return its totals. Raises LeaseLost."""
    totals = batch_totals(session, held.lease_id, extractor_version)
    reason = failure_reason(totals, coverage_threshold)
    status = "failed" if reason else "completed"
    completed_at = finish(session, held, status=status, error=reason)
    if completed_at is None:
        raise lease_lost(held)
    return replace(totals, status=status, error=reason, completed_at=completed_at)


def fail(session: Session, held: HeldLease, extractor_version: str, *, reason: str, coverage_threshold: float) -> None:
    """Set the batch failed for a reason; one that is completed, and still covered, stays what it is.

    A flow that is stopped after its last step, or that finds nothing to do, takes nothing away.
    """
    totals = batch_totals(session, held.lease_id, extractor_version)
    if totals.status != "completed" or failure_reason(totals, coverage_threshold):
        finish(session, held, status="failed", error=reason)


def summarise_batch(session: Session, batch_id: UUID, extractor_version: str) -> OrgEvaluationSummary:
    """Summarise a batch as it stands; changes nothing."""
    return summarise(session, batch_totals(session, batch_id, extractor_version), extractor_version)


def summarise(session: Session, totals: BatchTotals, extractor_version: str) -> OrgEvaluationSummary:
    """Complete a batch's totals with its figures; changes nothing."""
    batch_id = totals.batch_id
    results = load_results(session, batch_id, org_id=totals.org_id, extractor_version=extractor_version)
    return OrgEvaluationSummary(
        **counts_of(totals, OrgEvaluationSummary),
        unevaluated=totals.answered - totals.evaluated,
        figures=_by_name(org_metrics(results.runs)),
        by_model=_breakdown(results, "model"),
        by_location=_breakdown(results, "location"),
        by_model_and_location=_breakdown(results, "model", "location"),
        top_competitors=_counted_competitors(results),
        top_domains=_counted_domains(results),
        named_by_model=_named_by_model(results),
    )


def failure_reason(totals: BatchTotals, threshold: float) -> str | None:
    """Say why a batch has failed; None when enough was answered and enough of the answers could be read.

    A network's answers are read by its members' own flows: here only what came back counts.
    """
    if ratio(totals.answered, totals.expected) < threshold:
        failed = ", ".join(f"{number} {code}" for code, number in sorted(totals.failed.items()))
        return (
            f"Only {totals.answered} of {totals.expected} answers came back (threshold {threshold:.0%}); "
            f"missing: {failed}. Run it again to ask for the rest."
        )
    if totals.scope == "org" and ratio(totals.evaluated, totals.answered) < threshold:
        return unread_reason(totals.evaluated, totals.answered, threshold)
    return None


def unread_reason(evaluated: int, answered: int, threshold: float) -> str:
    """Say that too few of the answers could be read."""
    return (
        f"Only {evaluated} of {answered} answers could be read (threshold {threshold:.0%}). "
        "The answers are kept; run it again to read the rest."
    )


def ratio(part: int, whole: int) -> float:
    """Return part ÷ whole, 1 for nothing of nothing; as a quotient: 0.55 × 20 is more than 11."""
    return part / whole if whole else 1.0


def counts_of(totals: BatchTotals, summary: type[BaseModel]) -> dict[str, Any]:
    """Return what a summary takes over from the totals by name, and what follows from them."""
    duration = None
    if totals.started_at and totals.completed_at:
        duration = (totals.completed_at - totals.started_at).total_seconds()
    shared = {name: getattr(totals, name) for name in summary.model_fields if hasattr(totals, name)}
    return {
        **shared,
        "reason": totals.error,
        "coverage": totals.answered / totals.expected if totals.expected else None,
        "duration_seconds": duration,
    }


def _by_name(metrics: OrgMetrics) -> dict[str, Figure]:
    return {figure.name: figure for figure in (metrics.coverage, *metrics.figures())}


def _breakdown(results: Results, *columns: str) -> dict[str, dict[str, Figure]]:
    groups = metrics_by(results.runs, *columns)
    return {_joined(value): _by_name(metrics) for value, metrics in groups.items()}


def _joined(value: Hashable) -> str:
    return " · ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _named_by_model(results: Results) -> dict[str, Named]:
    """Return the tops of each model; a model without an evaluated answer has none."""
    tops = {}
    for model in sorted(set(results.runs["model"])):
        own = Results(
            *(frame[frame["model"] == model] for frame in (results.runs, results.competitors, results.citations))
        )
        tops[str(model)] = Named(competitors=_counted_competitors(own), domains=_counted_domains(own))
    return tops


def _counted_competitors(results: Results) -> list[Counted]:
    return [Counted(name=top.name, answers=top.answers, n=top.n) for top in top_competitors(results, LISTED)]


def _counted_domains(results: Results) -> list[Counted]:
    n = int(results.runs["evaluated"].sum())
    return [
        Counted(name=f"{top.domain} (own site)" if top.is_own else top.domain, answers=top.answers, n=n)
        for top in top_cited_domains(results, LISTED)
    ]
