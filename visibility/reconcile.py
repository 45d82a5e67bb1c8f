"""What flows that died have left, found in one look, and what was done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from visibility.batches import refuse_real_balances
from visibility.identity import is_alive
from visibility.store import reconcile as store
from visibility.store.reconcile import FreedHolds, LeftBatch, LeftJob, LeftReading, Owed, Window

Result = TypeVar("Result")
What = Literal["resume", "adopt", "read", "settle", "release", "close"]

NAMED_OWNERS = 3  # of those whose questions travel in one job


@dataclass(frozen=True, slots=True)
class LeftWork:
    """Everything that no live flow works on: `deleted` are batches whose org or network is gone."""

    window: Window
    batches: tuple[LeftBatch, ...]
    deleted: tuple[LeftBatch, ...]
    jobs: tuple[LeftJob, ...]
    readings: tuple[LeftReading, ...]
    owed: tuple[Owed, ...]
    holds: tuple[FreedHolds, ...]

    @property
    def nothing(self) -> bool:
        """True when there is nothing to do."""
        return not self.actions

    @property
    def actions(self) -> list[Action]:
        """What is to be done about it."""
        return [
            *(batch_action("resume", batch) for batch in self.batches),
            *(batch_action("close", batch) for batch in self.deleted),
            *map(job_action, self.jobs),
            *map(reading_action, self.readings),
            *map(owed_action, self.owed),
            *map(holds_action, self.holds),
        ]


class Action(BaseModel):
    """One thing that is to be done, or was: `number` of answers, charges or holds, amounts in USD.

    `subject` is an org or network and `subject_id` its id; of adopted jobs the owners of its questions, and the job's.
    """

    model_config = ConfigDict(frozen=True)

    what: What
    subject: str
    subject_id: UUID
    batch_id: UUID | None = None
    run_date: date | None = None
    number: int | None = None
    amount_usd: Decimal | None = None
    result: str = "found"
    failed: bool = False

    def done(self, result: str, number: int | None = None, amount_usd: Decimal | None = None) -> Action:
        """Return the action with what came of it."""
        return self.model_copy(update={"result": result, "number": number, "amount_usd": amount_usd})

    def not_done(self, reason: str) -> Action:
        """Return the action as one that could not be done."""
        return self.model_copy(update={"result": reason, "failed": True})


class ReconcileSummary(BaseModel):
    """What was found since a moment (UTC), and what was done about it, of a `dry_run` nothing.

    `counts` are the actions by kind without those that failed, of which `reason` names the first.
    """

    model_config = ConfigDict(frozen=True)

    flow_run_id: UUID | None
    since: datetime
    sandbox: bool
    dry_run: bool
    counts: dict[What, int]
    actions: list[Action]
    reason: str | None
    duration_seconds: float


def summarise_reconcile(
    window: Window, actions: Sequence[Action], *, dry_run: bool, flow_run_id: UUID | None, duration_seconds: float
) -> ReconcileSummary:
    """Count what was done."""
    failed = [action for action in actions if action.failed]
    reason = None
    if failed:
        reason = f"{len(failed)} of {len(actions)} could not be done, first {failed[0].subject}: {failed[0].result}"
    return ReconcileSummary(
        flow_run_id=flow_run_id,
        since=window.since,
        sandbox=window.sandbox,
        dry_run=dry_run,
        counts=dict(Counter(action.what for action in actions if not action.failed)),
        actions=list(actions),
        reason=reason,
        duration_seconds=duration_seconds,
    )


def look(session: Session, since: datetime, *, sandbox: bool) -> LeftWork:
    """Find everything that flows have left; changes nothing.

    Raises InvalidInput where the sandbox would charge real money.
    """
    if sandbox:
        refuse_real_balances(session)
    dead = tuple(holder for holder in store.lease_holders(session) if is_alive(holder) is False)
    window = Window(since, sandbox, dead)
    return LeftWork(
        window=window,
        batches=tuple(store.find_stranded(session, window)),
        deleted=tuple(_would(session, lambda: store.close_deleted(session, window))),
        jobs=tuple(store.find_open_jobs(session, window)),
        readings=tuple(store.find_readings(session, window)),
        owed=tuple(store.find_owed(session, window)),
        holds=tuple(_would(session, lambda: store.release_holds(session))),
    )


def _would(session: Session, work: Callable[[], Sequence[Result]]) -> Sequence[Result]:
    """Return what a change would change, and leave it: the condition stands in one place."""
    with session.begin_nested() as savepoint:
        found = work()
        savepoint.rollback()
    return found


def batch_action(what: What, batch: LeftBatch) -> Action:
    """Resume a batch, or close it."""
    key = batch.key
    return Action(
        what=what, subject=batch.name, subject_id=key.owner_id, batch_id=batch.batch_id, run_date=key.run_date
    )


def job_action(job: LeftJob) -> Action:
    """Adopt a vendor job."""
    more = len(job.names) - NAMED_OWNERS
    owners = ", ".join(job.names[:NAMED_OWNERS]) + (f" and {more} more" if more > 0 else "")
    return Action(what="adopt", subject=owners, subject_id=job.job_id, number=job.runs)


def reading_action(reading: LeftReading) -> Action:
    """Read for a member."""
    return Action(what="read", subject=reading.name, subject_id=reading.org_id)


def owed_action(owed: Owed) -> Action:
    """Settle for an org."""
    return Action(
        what="settle", subject=owed.name, subject_id=owed.org_id, batch_id=owed.batch_id, run_date=owed.run_date,
        number=owed.runs,
    )  # fmt: skip


def holds_action(holds: FreedHolds) -> Action:
    """Release an org's holds."""
    return Action(
        what="release", subject=holds.name, subject_id=holds.org_id, number=holds.holds, amount_usd=holds.amount_usd
    )
