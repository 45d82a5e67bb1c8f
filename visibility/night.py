"""What a night came to: who was scheduled, who is done, who is not and why, and the sums of the day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from visibility.domain import Spawn
from visibility.errors import BatchFailed
from visibility.night_plan import SCOPES, NightOf, scheduled
from visibility.settings import Settings
from visibility.store.nights import night_totals
from visibility.store.schedules import Scheduled
from visibility.summary import BatchStatus, ratio

LISTED = 5  # in the reason of a failed night; the summary has them all
UNKNOWN_REASON = "Its flow has not ended well, and nothing says why."


class NotDone(BaseModel):
    """An org or network that the night could not complete, and why."""

    owner_id: UUID
    name: str
    reason: str


class NightSummary(BaseModel):
    """The night of a date: counts of orgs or networks, sums of their batches in USD, time in seconds.

    `done_before` had nothing left when the night began; `completed` are those done in it, but for who was deleted or
    taken off the schedule meanwhile. `started` counts the flow
    runs that were started, `awaited` those that an earlier flow of the day had started and that were still under way.
    `coverage` is answered ÷ expected, 0–1, of all that were scheduled; None where nothing was expected.
    """

    model_config = ConfigDict(frozen=True)

    flow_run_id: UUID | None
    run_date: date
    what: NightOf
    spawn: Spawn
    sandbox: bool
    status: BatchStatus
    reason: str | None
    scheduled: int
    done_before: int
    started: int
    awaited: int
    completed: int
    failed: list[NotDone]
    expected: int
    answered: int
    coverage: float | None
    vendor_cost_usd: Decimal
    llm_cost_usd: Decimal
    charged_usd: Decimal
    duration_seconds: float

    def raise_if_failed(self) -> NightSummary:
        """Return the summary of a night that did its work; raise BatchFailed where too many could not be done."""
        if self.status == "failed":
            raise BatchFailed(self.reason or "The night failed.", summary=self)
        return self


class NightEnds(BaseModel):
    """How the flows of a night ended: why the one of an org or network did not end well.

    `shard_reasons`: why the whole shard that an org was in did not, which says less than the org's batch.
    """

    spawn: Spawn
    started: int = 0
    awaited: int = 0
    reasons: dict[UUID, str] = {}
    shard_reasons: dict[UUID, str] = {}


def summarise_night(
    session: Session,
    what: NightOf,
    run_date: date,
    before: Sequence[Scheduled],
    ends: NightEnds,
    settings: Settings,
    *,
    flow_run_id: UUID | None,
    duration_seconds: float,
) -> NightSummary:
    """Look at the schedule once more and sum the day up, in two statements; `before` is how the night found it.

    The night has failed when more than the threshold (0–1) of those scheduled could not be done.
    """
    after = {owner.owner_id: owner for owner in scheduled(session, what, run_date, settings)}
    todo = [owner for owner in before if owner.state != "done"]
    failed = not_done(todo, after, ends)
    totals = night_totals(session, SCOPES[what], run_date, [owner.owner_id for owner in before])
    too_many = bool(before) and ratio(len(failed), len(before)) > settings.failed_children_threshold
    return NightSummary(
        flow_run_id=flow_run_id,
        run_date=run_date,
        what=what,
        spawn=ends.spawn,
        sandbox=settings.sandbox,
        status="failed" if too_many else "completed",
        reason=_reason(what, failed, len(before)) if too_many else None,
        scheduled=len(before),
        done_before=len(before) - len(todo),
        started=ends.started,
        awaited=ends.awaited,
        completed=sum(owner.owner_id in after for owner in todo) - len(failed),
        failed=failed,
        expected=totals.expected,
        answered=totals.answered,
        coverage=totals.answered / totals.expected if totals.expected else None,
        vendor_cost_usd=totals.vendor_cost_usd,
        llm_cost_usd=totals.llm_cost_usd,
        charged_usd=totals.charged_usd,
        duration_seconds=duration_seconds,
    )


def not_done(todo: Sequence[Scheduled], after: Mapping[UUID, Scheduled], ends: NightEnds) -> list[NotDone]:
    """Return those whose batch is not completed, and the networks whose flow failed over their members.

    An answer that is missing in a completed batch is no failure: a later run asks for it. Who was deleted meanwhile
    is not looked for.
    """
    left = [after[owner.owner_id] for owner in todo if owner.owner_id in after]
    return [
        NotDone(owner_id=owner.owner_id, name=owner.name, reason=_why(owner, ends))
        for owner in left
        if owner.status != "completed" or (owner.scope == "network" and owner.owner_id in ends.reasons)
    ]


def _why(owner: Scheduled, ends: NightEnds) -> str:
    return ends.reasons.get(owner.owner_id) or owner.error or ends.shard_reasons.get(owner.owner_id) or UNKNOWN_REASON


def _reason(what: NightOf, failed: Sequence[NotDone], number: int) -> str:
    named = "; ".join(f"{one.name}: {one.reason}" for one in failed[:LISTED])
    more = f"; and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
    return f"{len(failed)} of {number} {what} could not be done ({named}{more}). Run the day again to do the rest."
