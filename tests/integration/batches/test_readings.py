"""Reading a network's answers for one org: one reader at a time, and only what is missing since a day."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import func, select, text, update

from tests.support import billing
from tests.support.seed import seed_charges, seed_network, seed_org
from visibility import networks
from visibility.domain import Org
from visibility.errors import DatabaseUnavailable, InvalidInput, LeaseLost
from visibility.identity import new_owner
from visibility.leases import kept_lease
from visibility.networks import OpenReading, first_day, open_reading
from visibility.store import leases
from visibility.store.database import Database
from visibility.store.networks import load_member
from visibility.store.tables import Batch, ReadingLease

DAY = date(2026, 11, 23)
ELSEWHERE = "another-machine|boot|namespace|1|1.00|0123456789ab"


@pytest.fixture
def org(database: Database) -> Org:
    """A member of a network with one batch of three answers."""
    with database.transaction() as session:
        network_id = seed_network(session)
        org_id = seed_org(session, network_id=network_id, balance=None)
        billing.answer(session, billing.open_network_batch(session, network_id, run_date=DAY))
        return load_member(session, org_id)[0]


async def reading(database: Database, org: Org, owner: str | None = None, **changes: object) -> OpenReading:
    given: dict[str, object] = {"lease_seconds": 60, "flow_run_id": None, "extractor_version": "v1", "sandbox": False}
    assert org.network_id is not None
    return await open_reading(
        database, org, org.network_id, DAY, owner=owner or new_owner(), wait_seconds=0.05, **(given | changes)  # type: ignore[arg-type]
    )  # fmt: skip


async def test_two_readers_of_one_org_do_the_work_once(database: Database, org: Org) -> None:
    first = await reading(database, org)
    waiting: list[str] = []
    second = asyncio.create_task(reading(database, org, on_wait=waiting.append))
    await asyncio.sleep(0.2)
    assert (first.runs, second.done(), waiting) == (3, False, [first.lease.owner])
    with database.transaction() as session:
        billing.evaluate(session, first.missing[0].batch_id, org.org_id)
        seed_charges(session, first.missing[0].batch_id, org.org_id)
        leases.release_lease(session, first.lease)
    assert (await second).nothing_left and (await second).lease.lease_id == first.lease.lease_id


async def test_two_orgs_of_one_network_are_read_at_the_same_time(database: Database, org: Org) -> None:
    with database.transaction() as session:
        other, _ = load_member(session, seed_org(session, name="Another", network_id=org.network_id, balance=None))
    first = await reading(database, org)
    async with asyncio.timeout(5):
        assert (await reading(database, other)).lease.lease_id != first.lease.lease_id


async def test_the_reader_of_a_killed_process_is_taken_over_at_once(database: Database, org: Org) -> None:
    program = "from visibility.identity import new_owner; print(new_owner())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    first = await reading(database, org, dead)
    async with asyncio.timeout(5):
        second = await reading(database, org)
    assert second.lease.lease_id == first.lease.lease_id
    with database.transaction() as session, pytest.raises(LeaseLost, match="taken over reading"):
        leases.with_lease(session, first.lease, lambda _: None)


async def test_a_lease_elsewhere_is_waited_for_until_it_lapses(database: Database, org: Org) -> None:
    await reading(database, org, ELSEWHERE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reading(database, org)
    with database.transaction() as session:
        session.execute(update(ReadingLease).values(lease_expires_at=func.now()))
    async with asyncio.timeout(5):
        assert (await reading(database, org)).runs == 3


async def test_a_kept_reading_lease_is_renewed_and_given_back(database: Database, org: Org) -> None:
    opened = await reading(database, org, lease_seconds=0.3)
    async with kept_lease(database, opened.lease, 0.3):
        await asyncio.sleep(0.5)
        with database.transaction() as session:
            assert session.scalar(select(ReadingLease.lease_expires_at > func.now()))
    with database.transaction() as session:
        assert session.scalar(select(ReadingLease.lease_owner)) is None


async def test_a_finding_that_breaks_gives_the_lease_back(
    database: Database, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_connection(*args: object, **options: object) -> None:
        raise DatabaseUnavailable("The connection to Postgres was lost.")

    with monkeypatch.context() as broken:
        broken.setattr(networks, "find_missing", lose_connection)
        with pytest.raises(DatabaseUnavailable):
            await reading(database, org)
    async with asyncio.timeout(5):
        assert (await reading(database, org)).runs == 3


async def test_the_sandbox_reads_for_no_org_where_real_money_lies(database: Database, org: Org) -> None:
    with pytest.raises(InvalidInput, match="would charge its real balances"):
        await reading(database, org, sandbox=True)
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(ReadingLease)) == 0
        session.execute(update(Batch).values(sandbox=True))
    assert (await reading(database, org, sandbox=True)).runs == 3


async def test_simulated_answers_are_not_read_with_a_real_reader(database: Database, org: Org) -> None:
    with database.transaction() as session:
        session.execute(update(Batch).values(sandbox=True))
    assert (await reading(database, org)).nothing_left


def test_own_questions_and_the_networks_are_read_under_two_leases(database: Database, org: Org) -> None:
    asked = {"owner": new_owner(), "seconds": 60}
    with database.transaction() as session:
        own, networks_ = (leases.take_reading_lease(session, org.org_id, of, **asked) for of in (None, org.network_id))
        again = leases.take_reading_lease(session, org.org_id, None, owner=ELSEWHERE, seconds=60)
        assert own.taken and networks_.taken and own.lease_id != networks_.lease_id
        assert (again.taken, again.lease_id, again.holder) == (False, own.lease_id, asked["owner"])
        assert session.scalar(text("SELECT count(*) FROM reading_leases")) == 2


def test_joining_a_network_does_not_bill_its_history(org: Org) -> None:
    def joined(day: int, hour: int = 12) -> Org:
        return Org(**{name: getattr(org, name) for name in org.__slots__} | {
            "network_joined_at": datetime(2026, 11, day, hour, tzinfo=UTC)})  # fmt: skip

    assert first_day(joined(20), None, DAY) == date(2026, 11, 20)
    assert first_day(joined(20, 23), None, DAY) == date(2026, 11, 20)
    assert first_day(org, None, DAY) == date(2026, 10, 24)  # joined two years ago
    assert first_day(joined(20), date(2026, 1, 1), DAY) == date(2026, 1, 1)
