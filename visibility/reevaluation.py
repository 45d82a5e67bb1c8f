"""Stored answers read again by the current extractor, beside what older versions found; nobody is asked or charged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from visibility.arrivals import total
from visibility.domain import EvaluationCounts
from visibility.errors import BatchFailed, InvalidInput, VisibilityError
from visibility.identity import new_owner
from visibility.intervals import bootstrap_ratios
from visibility.leases import kept_lease, wait_for_lease
from visibility.store import reevaluation as store
from visibility.store.database import Database
from visibility.store.leases import Lease, take_reading_lease
from visibility.store.networks import load_network
from visibility.store.orgs import load_org
from visibility.store.reevaluation import Compared, EvaluatedOrg, OutdatedBatch, Window

USUAL_DAYS = timedelta(days=30)


class MentionChange(BaseModel):
    """An answer that names the org by the one version and not by the other; `change` is that of the new one."""

    question_run_id: UUID
    org_name: str
    change: Literal["gained", "lost"]
    old_reason: str
    new_reason: str


class Drift(BaseModel):
    """Mean share of voice by text over `n` (answer, org) pairs, 0–1, and new minus old with its 95 % interval.

    The interval resamples whole questions; `reason` says why a value or the interval is None.
    """

    n: int
    old: float | None = None
    new: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Comparison(BaseModel):
    """Old against new over (answer, org) pairs; `sentiments` counts changes as `old->new` of the `mentioned_twice`.

    `hidden` pairs show readers the old evaluation, because it was written after the current version's.
    """

    pairs: int
    gained: int
    lost: int
    mentioned_twice: int
    hidden: int
    sentiments: dict[str, int]
    share_of_voice: Drift
    examples: list[MentionChange]


class ReevaluationSummary(BaseModel):
    """What reading stored answers again came to; counts are (answer, org) pairs, costs USD, times seconds.

    The comparison covers the whole window: also what an earlier re-evaluation has read at this version.
    """

    model_config = ConfigDict(frozen=True)

    scope: Literal["org", "network"]
    owner_id: UUID
    owner_name: str
    flow_run_id: UUID | None
    since: date
    until: date
    status: Literal["completed", "failed"]
    reason: str | None
    note: str | None
    sandbox: bool
    orgs: int
    current: int
    found: int
    reevaluated: int
    failed: dict[str, int]
    old_versions: dict[str, int]
    new_version: str
    comparison: Comparison
    llm_calls: int
    llm_tokens: int
    llm_cost_usd: Decimal
    duration_seconds: float

    def raise_if_failed(self) -> ReevaluationSummary:
        """Return the summary of a re-evaluation that read enough answers; raise BatchFailed for another."""
        if self.status == "failed":
            raise BatchFailed(self.reason or "The re-evaluation failed.", summary=self)
        return self


@dataclass(frozen=True, slots=True)
class Replay:
    """What is to be read again, as it was found; `begun` by the database's clock."""

    window: Window
    owner_name: str
    begun: datetime
    orgs: tuple[EvaluatedOrg, ...]

    @property
    def found(self) -> int:
        """How many (answer, org) pairs only other versions have read."""
        return sum(org.outdated for org in self.orgs)

    @property
    def current(self) -> int:
        """How many pairs the current version has read already."""
        return sum(org.current for org in self.orgs)


def window_of(
    scope: Literal["org", "network"],
    owner_id: UUID,
    since: date | None,
    until: date | None,
    *,
    today: date,
    sandbox: bool,
    version: str,
) -> Window:
    """Return the window, by default the 30 days before `until` and that day; `until` is by default today.

    Raises InvalidInput when it ends before it begins.
    """
    until = until or today
    since = since or until - USUAL_DAYS
    if since > until:
        raise InvalidInput(f"The window ends on {until}, before it begins on {since}.")
    return Window(scope, owner_id, since, until, sandbox, version)


def open_replay(session: Session, window: Window) -> Replay:
    """Find whose evaluations there are in the window. Raises InvalidInput for an unknown or deleted owner."""
    owner = (load_org if window.scope == "org" else load_network)(session, window.owner_id)
    orgs = store.find_evaluated_orgs(session, window)
    return Replay(window, owner.name, store.database_now(session), tuple(orgs))


@asynccontextmanager
async def reading_lease(
    database: Database,
    org_id: UUID,
    network_id: UUID | None,
    *,
    seconds: float,
    flow_run_id: UUID | None,
    on_wait: Callable[[str], None],
) -> AsyncIterator[None]:
    """Be the only one who reads the network's answers (or its own) for the org while the body runs."""
    owner = new_owner()

    def take(session: Session, dead: str | None) -> Lease:
        return take_reading_lease(
            session, org_id, network_id, owner=owner, seconds=seconds, flow_run_id=flow_run_id, dead_holder=dead
        )

    lease = await wait_for_lease(database, take, 1.0, on_wait)
    async with kept_lease(database, lease.held, seconds):
        yield


async def replay_answers(
    outdated: Sequence[OutdatedBatch], read: Callable[[OutdatedBatch], Awaitable[EvaluationCounts]]
) -> EvaluationCounts:
    """Read the answers of all batches at once; what stops one batch is raised when all have ended, with `counts`."""
    results = await asyncio.gather(*map(read, outdated), return_exceptions=True)
    counts = total([result for result in results if isinstance(result, EvaluationCounts)])
    stopped = [
        (error, len(batch.run_ids))
        for batch, error in zip(outdated, results, strict=True)
        if isinstance(error, BaseException)
    ]
    if not stopped:
        return counts
    failed = total([counts, *(EvaluationCounts(0, 0, 0, 0, failed=unread(*one)) for one in stopped)]).failed
    error = stopped[0][0]
    error.counts = replace(counts, failed=failed)  # type: ignore[attr-defined]  # travels with the pickled error
    raise error


def unread(error: BaseException, answers: int) -> dict[str, int]:
    """Return what an error left unread, by code: as it counts itself, else all of the `answers`."""
    counts = getattr(error, "counts", None)
    if isinstance(counts, EvaluationCounts):
        return counts.failed
    return {error.code if isinstance(error, VisibilityError) else "unexpected": answers}


def summarise_replay(
    session: Session,
    replay: Replay,
    failed: dict[str, int],
    *,
    coverage_threshold: float,
    flow_run_id: UUID | None,
    duration_seconds: float,
) -> ReevaluationSummary:
    """Compare what stands in the rows now with what was found; `failed` says by code why answers are unread."""
    window = replay.window
    compared = store.compare(session, window)
    left = sum(org.outdated for org in store.find_evaluated_orgs(session, window))
    reevaluated = max(replay.found - left, 0)
    reason = failure_reason(reevaluated, replay.found, failed, coverage_threshold)
    use = store.llm_use(session, window, replay.begun)
    return ReevaluationSummary(
        scope=window.scope,
        owner_id=window.owner_id,
        owner_name=replay.owner_name,
        flow_run_id=flow_run_id,
        since=window.since,
        until=window.until,
        status="failed" if reason else "completed",
        reason=reason,
        note=note_of(replay, compared),
        sandbox=window.sandbox,
        orgs=len(replay.orgs),
        current=replay.current,
        found=replay.found,
        reevaluated=reevaluated,
        failed=failed,
        old_versions=compared.old_versions,
        new_version=window.version,
        comparison=comparison_of(compared),
        llm_calls=use.calls,
        llm_tokens=use.tokens,
        llm_cost_usd=use.cost_usd,
        duration_seconds=duration_seconds,
    )


def failure_reason(read: int, found: int, failed: dict[str, int], threshold: float) -> str | None:
    """Say why a re-evaluation has failed; None when enough of what was found could be read."""
    if not found or read / found >= threshold:
        return None
    codes = ", ".join(f"{number} {code}" for code, number in sorted(failed.items()))
    return (
        f"Only {read} of {found} evaluations could be read again (threshold {threshold:.0%}); failed: {codes}. "
        "The others keep their old findings; run it again to read the rest."
    )


def note_of(replay: Replay, compared: Compared) -> str | None:
    """Say why there was nothing to do, and when readers do not see the current version's findings."""
    parts = []
    if not replay.found and not replay.current:
        parts.append(f"no evaluations from {replay.window.since} to {replay.window.until}")
    elif not replay.found:
        parts.append(f"all {replay.current} evaluations are at the current version")
    if compared.hidden:
        parts.append(f"readers see another version's later findings instead of {compared.hidden} current ones")
    return "; ".join(parts) or None


def comparison_of(compared: Compared) -> Comparison:
    """Return the comparison with the drift of the share of voice."""
    return Comparison(
        pairs=compared.pairs,
        gained=compared.gained,
        lost=compared.lost,
        mentioned_twice=compared.mentioned_twice,
        hidden=compared.hidden,
        sentiments=compared.sentiments,
        share_of_voice=drift_of(compared.shares),
        examples=[MentionChange.model_validate(example) for example in compared.examples],
    )


def drift_of(shares: Sequence[tuple[int, float, float]]) -> Drift:
    """Return the drift over questions, each with its number of pairs, sum of old and sum of new shares."""
    import numpy as np

    if not shares:
        return Drift(n=0, reason="no pair has two shares of voice")
    sums = np.array(shares, dtype=float)
    n, old, new = sums.sum(axis=0)
    (interval,) = bootstrap_ratios((sums[:, 2] - sums[:, 1])[:, None], sums[:, :1])
    drift = Drift(n=int(n), old=old / n, new=new / n, difference=(new - old) / n)
    if interval is None:
        return drift.model_copy(update={"reason": "no interval: it takes answers to two questions"})
    return drift.model_copy(update={"low": interval.low, "high": interval.high})
