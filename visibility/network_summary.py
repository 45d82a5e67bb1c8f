"""What a network's batch came to, and what reading it came to for one member: the typed results of their flows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from math import inf
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from visibility.billing.settlement import Settlement
from visibility.domain import EvaluationCounts, name_key
from visibility.domains import is_shared_host
from visibility.errors import BatchFailed
from visibility.metrics import NO_ANSWER, Figure, OrgMetrics, org_metrics, rate
from visibility.networks import OpenReading
from visibility.store import standings as store
from visibility.store.leases import HeldLease
from visibility.store.standings import MemberBatch, Standee
from visibility.store.summaries import batch_totals
from visibility.summary import BatchStatus, Counted, close, counts_of, ratio, unread_reason

LISTED = 10
READ_NOTHING = (
    "Its flow ended, but none of the {} answers is evaluated for it at this version of the extractor: "
    "does its worker have the same code and settings (sandbox, LLM models)?"
)
LISTED_CHILDREN = 5  # in the reason of a failed network; the summary has them all


class Child(BaseModel):
    """The flow that read the network's answers for one member, in the state in which its flow run was last seen.

    `evaluated` counts the answers of this batch that are evaluated for the member, whoever did it.
    """

    org_id: UUID
    org_name: str
    state: str
    reason: str | None = None
    evaluated: int = 0
    flow_run_id: UUID | None = None

    @property
    def failed(self) -> bool:
        """True for every end but a good one, also for a run that nobody has picked up."""
        return self.state != "completed"


class Standing(BaseModel):
    """One line of the leaderboard: `evaluated` of the network's answers, `mentioned` of these name the org.

    `left`: the org was evaluated and is no member any more.
    """

    org_id: UUID
    name: str
    left: bool = False
    evaluated: int
    mentioned: int
    figures: dict[str, Figure]


class Cited(Counted):
    """A domain: cited in `answers` of `n` evaluated answers, `citations` times (a URL counts once per answer)."""

    citations: int
    members: list[str]


class NetworkSummary(BaseModel):
    """Counts, costs (USD) and figures of a network's batch; ratios 0–1, failures by error code, times in seconds.

    `evaluations` are (answer, member) pairs, `duration_seconds` is the time of asking.
    """

    model_config = ConfigDict(frozen=True)

    batch_id: UUID
    flow_run_id: UUID | None
    network_id: UUID
    network_name: str
    run_date: date
    status: BatchStatus
    reason: str | None
    sandbox: bool
    expected: int
    answered: int
    failed: dict[str, int]
    coverage: float | None
    answered_elsewhere: int
    members: int
    evaluations: int
    expected_evaluations: int
    vendor_cost_usd: Decimal
    llm_calls: int
    llm_tokens: int
    llm_cost_usd: Decimal
    charged_usd: Decimal
    charges: int
    payers: list[str]
    duration_seconds: float | None
    children: list[Child]
    leaderboard: list[Standing]
    top_domains: list[Cited]
    top_competitors: list[Counted]

    def raise_if_failed(self) -> NetworkSummary:
        """Return the summary of a completed batch; raise BatchFailed for a failed one."""
        if self.status == "failed":
            raise BatchFailed(self.reason or "The batch failed.", summary=self)
        return self


class NetworkOrgSummary(BaseModel):
    """What reading a network's answers came to for one org.

    `found`, `evaluated_now`, `failed`, calls, costs (USD) and charges are of this flow; the other counts are of all
    `batches` from `since` on. `coverage` is evaluated ÷ answered, 0–1.
    """

    model_config = ConfigDict(frozen=True)

    org_id: UUID
    org_name: str
    network_id: UUID
    flow_run_id: UUID | None
    since: date
    status: Literal["completed", "failed"]
    reason: str | None
    sandbox: bool
    found: int
    evaluated_now: int
    failed: dict[str, int]
    batches: int
    answered: int
    evaluated: int
    mentioned: int
    competitors: int
    citations: int
    coverage: float | None
    mention_rate: Figure
    llm_calls: int
    llm_cost_usd: Decimal
    charged_usd: Decimal
    charges: int
    duration_seconds: float | None

    def raise_if_failed(self) -> NetworkOrgSummary:
        """Return the summary of a completed reading; raise BatchFailed for a failed one."""
        if self.status == "failed":
            raise BatchFailed(self.reason or "The reading failed.", summary=self)
        return self


def complete_network(session: Session, held: HeldLease, extractor_version: str, *, coverage_threshold: float) -> None:
    """Set the network's batch completed or failed by the coverage of its answers. Raises LeaseLost."""
    close(session, held, extractor_version, coverage_threshold=coverage_threshold)


def summarise_network(
    session: Session,
    batch_id: UUID,
    extractor_version: str,
    children: Sequence[Child],
    *,
    failed_children_threshold: float,
) -> NetworkSummary:
    """Summarise a network's batch as it stands; changes nothing, takes six statements for any number of members.

    Failed is what the batch is, and a network of whose children a larger part than the threshold (0–1) failed.
    """
    totals = batch_totals(session, batch_id, extractor_version)
    standees = store.load_standees(session, batch_id, extractor_version)
    leaderboard = _leaderboard(session, batch_id, extractor_version, standees)
    children = _counted(children, leaderboard, totals.answered)
    too_few = children_reason(children, failed_children_threshold)
    counts = counts_of(totals, NetworkSummary)
    if too_few:
        counts |= {"status": "failed", "reason": " ".join(filter(None, (totals.error, too_few)))}
    n = store.count_evaluated(session, batch_id, extractor_version)
    return NetworkSummary(
        **counts,
        network_id=totals.owner_id,
        network_name=totals.name,
        evaluations=totals.evaluated,
        expected_evaluations=totals.answered * totals.members,
        children=list(children),
        leaderboard=leaderboard,
        top_domains=_top_domains(session, batch_id, extractor_version, standees, n),
        top_competitors=_top_competitors(session, batch_id, extractor_version, standees, n),
    )


def summarise_reading(
    session: Session,
    reading: OpenReading,
    extractor_version: str,
    counts: EvaluationCounts,
    settlement: Settlement | None,
    *,
    sandbox: bool,
    coverage_threshold: float,
    flow_run_id: UUID | None = None,
    duration_seconds: float | None = None,
) -> NetworkOrgSummary:
    """Summarise what was read for one org; `counts` and `settlement` (None: nothing was charged) are this flow's."""
    org_id = reading.org.org_id
    batches = store.load_window(
        session,
        reading.network_id,
        org_id,
        reading.since,
        extractor_version,
        sandbox=sandbox,
        also=reading.also,
        found=[run_id for batch in reading.missing for run_id in batch.run_ids],
    )
    reason = reading_reason(batches, coverage_threshold)
    return NetworkOrgSummary(
        org_id=org_id,
        org_name=reading.org.name,
        network_id=reading.network_id,
        flow_run_id=flow_run_id,
        since=reading.since,
        status="failed" if reason else "completed",
        reason=reason,
        sandbox=sandbox,
        found=reading.runs,
        evaluated_now=counts.evaluated,
        failed=counts.failed,
        llm_calls=counts.llm_calls,
        llm_cost_usd=counts.cost_usd,
        charged_usd=settlement.charged_usd if settlement else Decimal(0),
        charges=settlement.entries if settlement else 0,
        duration_seconds=duration_seconds,
        **_window(batches),
    )


def children_reason(children: Sequence[Child], threshold: float) -> str | None:
    """Say that too many members could not be evaluated; None when their part is at most the threshold."""
    failed = [child.org_name for child in children if child.failed]
    if not failed or len(failed) / len(children) <= threshold:
        return None
    more = f" and {len(failed) - LISTED_CHILDREN} more" if len(failed) > LISTED_CHILDREN else ""
    return (
        f"{len(failed)} of {len(children)} members could not be evaluated (threshold {threshold:.0%}): "
        f"{', '.join(failed[:LISTED_CHILDREN])}{more}. The answers are kept; run it again to read the rest."
    )


def reading_reason(batches: Sequence[MemberBatch], threshold: float) -> str | None:
    """Say of which date too few answers could be read; None when every batch is covered.

    Each batch is judged for itself: one that could not be read at all would not show in a month. What was answered
    while the flow was reading is left to the flow that asks.
    """
    for batch in batches:
        if ratio(batch.evaluated, batch.readable) < threshold:
            return f"{batch.run_date}: {unread_reason(batch.evaluated, batch.readable, threshold)}"
    return None


def _leaderboard(
    session: Session, batch_id: UUID, extractor_version: str, standees: Sequence[Standee]
) -> list[Standing]:
    """Return the members by mention rate, then average rank, then name; those without an evaluation come last."""
    pairs = store.load_pairs(session, batch_id, [standee.org_id for standee in standees], extractor_version)
    by_org = {UUID(str(org_id)): org_metrics(runs) for org_id, runs in pairs.groupby("org_id")}
    nothing = org_metrics(pairs.iloc[:0])
    return sorted((_standing(standee, by_org.get(standee.org_id, nothing)) for standee in standees), key=_place)


def _standing(standee: Standee, metrics: OrgMetrics) -> Standing:
    shown = (
        metrics.coverage,
        metrics.mention_rate,
        metrics.share_of_voice_by_mentions,
        metrics.average_rank,
        metrics.sentiment_index,
        metrics.owned_citation_rate,
    )
    return Standing(
        org_id=standee.org_id,
        name=standee.name,
        left=standee.left,
        evaluated=metrics.evaluated,
        mentioned=metrics.cells.both + metrics.cells.named_only,
        figures={figure.name: figure for figure in shown},
    )


def _counted(children: Sequence[Child], leaderboard: Sequence[Standing], answered: int) -> list[Child]:
    """Return the children with what is evaluated for them; who ended well and read nothing worked with something else.

    A worker with other settings or other code finds nothing to do: simulated answers are not read for real.
    """
    evaluated = {standing.org_id: standing.evaluated for standing in leaderboard}
    counted = [child.model_copy(update={"evaluated": evaluated.get(child.org_id, 0)}) for child in children]
    elsewhere = {"state": "failed", "reason": READ_NOTHING.format(answered)}
    return [
        child.model_copy(update=elsewhere)
        if answered and not child.failed and evaluated.get(child.org_id) == 0
        else child
        for child in counted
    ]


def _place(standing: Standing) -> tuple[float, float, str]:
    mention_rate, rank = standing.figures["mention_rate"].value, standing.figures["average_rank"].value
    return (inf if mention_rate is None else -mention_rate, inf if rank is None else rank, standing.name)


def _top_domains(
    session: Session, batch_id: UUID, extractor_version: str, standees: Sequence[Standee], n: int
) -> list[Cited]:
    """Return the most cited domains; a host that many share is nobody's own site."""
    names = {standee.org_id: standee.name for standee in standees}
    return [
        Cited(
            name=top.domain,
            answers=top.answers,
            n=n,
            citations=top.citations,
            members=[] if is_shared_host(top.domain) else sorted(names[owner] for owner in top.owners),
        )
        for top in store.top_domains(session, batch_id, extractor_version, LISTED)
    ]


def _top_competitors(
    session: Session, batch_id: UUID, extractor_version: str, standees: Sequence[Standee], n: int
) -> list[Counted]:
    keys = [name_key(standee.name) for standee in standees]
    tops = store.top_brands(session, batch_id, extractor_version, keys, LISTED)
    return [Counted(name=top.name, answers=top.answers, n=n) for top in tops]


def _window(batches: Sequence[MemberBatch]) -> dict[str, Any]:
    """Return the sums over a member's batches, and its mention rate."""
    summed = ("expected", "answered", "evaluated", "mentioned", "competitors", "citations")
    sums = {name: sum(getattr(batch, name) for batch in batches) for name in summed}
    expected, answered, evaluated = sums.pop("expected"), sums["answered"], sums["evaluated"]
    answers = answered / expected if expected else None
    return {
        **sums,
        "batches": len(batches),
        "coverage": evaluated / answered if answered else None,
        "mention_rate": rate("mention_rate", sums["mentioned"], evaluated, "evaluated answers", answers, NO_ANSWER),
    }
