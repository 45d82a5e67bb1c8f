"""Reading a network's answers for one of its orgs: from which day on, by whom, and what is still missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from visibility.batches import refuse_real_balances
from visibility.domain import MissingBatch, Org
from visibility.leases import returned_on_failure, wait_for_lease
from visibility.store.database import Database
from visibility.store.leases import HeldLease, Lease, take_reading_lease
from visibility.store.networks import find_missing

NETWORKS_AT_A_TIME = 4  # flows of networks in one process; each runs those of its members
DAYS_BACK = 30


@dataclass(frozen=True, slots=True)
class OpenReading:
    """What one org lacks of its network's answers since a day (and `also` of one before), with the lease of reading."""

    lease: HeldLease
    org: Org
    network_id: UUID
    since: date
    missing: tuple[MissingBatch, ...]
    also: date | None = None

    @property
    def runs(self) -> int:
        """How many answers are to be evaluated."""
        return sum(len(batch.run_ids) for batch in self.missing)

    @property
    def nothing_left(self) -> bool:
        """True when no answer is to be evaluated and no evaluation to be charged."""
        return not self.missing


def first_day(org: Org, since: date | None, today: date) -> date:
    """Return the UTC date from which on a network's answers count for the org.

    `since` as given; else the day it joined, 30 days back at most: joining does not bill the network's history.
    """
    if since is not None:
        return since
    back = today - timedelta(days=DAYS_BACK)
    return back if org.network_joined_at is None else max(back, org.network_joined_at.astimezone(UTC).date())


async def open_reading(
    database: Database,
    org: Org,
    network_id: UUID,
    since: date,
    *,
    owner: str,
    lease_seconds: float,
    flow_run_id: UUID | None,
    extractor_version: str,
    sandbox: bool,
    also: date | None = None,
    wait_seconds: float = 1.0,
    on_wait: Callable[[str], None] = lambda holder: None,
) -> OpenReading:
    """Wait for the lease of reading the network's answers for the org, then find what is missing.

    Only then: what another flow has just evaluated is not missing any more. Raises InvalidInput where the sandbox
    would charge real money.
    """

    def take(session: Session, dead: str | None) -> Lease:
        if sandbox:
            refuse_real_balances(session)
        return take_reading_lease(
            session, org.org_id, network_id, owner=owner, seconds=lease_seconds, flow_run_id=flow_run_id,
            dead_holder=dead,
        )  # fmt: skip

    held = (await wait_for_lease(database, take, wait_seconds, on_wait)).held
    async with returned_on_failure(database, held):
        missing = await database.run(
            find_missing, org.org_id, network_id, since, extractor_version, sandbox=sandbox, also=also
        )
    return OpenReading(held, org, network_id, since, tuple(missing), also)
