"""One batch per org and day, one flow at work on it, every expected run in its manifest."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from tests.support.seed import seed_org
from visibility import batches
from visibility.batches import OpenBatch
from visibility.domain import BatchKey, Org
from visibility.errors import DatabaseUnavailable, InvalidInput, LeaseLost, RetryableError
from visibility.identity import is_alive, new_owner
from visibility.leases import kept_lease
from visibility.store import batches as store
from visibility.store import leases
from visibility.store.batches import Opening
from visibility.store.database import Database
from visibility.store.orgs import load_org
from visibility.store.tables import Batch, QuestionRunRow

DAY = date(2026, 11, 23)
ELSEWHERE = "another-machine|boot|namespace|1|1.00|0123456789ab"


@pytest.fixture
def org(database: Database) -> Org:
    with database.transaction() as session:
        org_id = seed_org(session)
        return load_org(session, org_id)


def opening(org: Org, **changes: object) -> Opening:
    standard = Opening(BatchKey("org", org.org_id, DAY), new_owner(), 60, "manual")
    return dataclasses.replace(standard, **changes)  # type: ignore[arg-type]


async def open_batch(database: Database, org: Org, how: Opening | None = None, **options: object) -> OpenBatch:
    return await batches.open_batch(
        database, org, how or opening(org), extractor_version="1", max_attempts=4, wait_seconds=0.05, **options
    )


def expire_lease(database: Database, batch_id: UUID) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE evaluation_batches SET lease_expires_at = now() - interval '1 second'"))


def test_the_manifest_holds_every_question_model_and_location(database: Database, org: Org) -> None:
    batch = asyncio.run(open_batch(database, org))
    assert batch.progress.expected == batch.progress.open == 60
    assert not batch.progress.nothing_left


def test_opening_again_finds_the_same_batch_and_adds_no_row(database: Database, org: Org) -> None:
    how = opening(org)
    first = asyncio.run(open_batch(database, org, how))
    second = asyncio.run(open_batch(database, org, how))
    assert (first.batch_id, second.progress.expected) == (second.batch_id, 60)


def test_what_was_configured_since_is_added_and_the_rest_left_alone(database: Database, org: Org) -> None:
    how = opening(org)
    batch = asyncio.run(open_batch(database, org, how))
    with database.transaction() as session:
        session.execute(
            update(QuestionRunRow).where(QuestionRunRow.model == "gemini").values(status="failed", error_code="blocked")
        )
    wider = dataclasses.replace(org, models=(*org.models, "linkup"))
    again = asyncio.run(open_batch(database, wider, how))
    assert (again.batch_id, again.progress.expected, again.progress.failed) == (batch.batch_id, 80, 20)


def test_an_org_without_questions_has_nothing_left(database: Database, org: Org) -> None:
    batch = asyncio.run(open_batch(database, dataclasses.replace(org, questions=())))
    assert batch.progress.expected == 0 and batch.progress.nothing_left


@pytest.mark.parametrize(
    ("code", "attempts", "retryable"),
    [("blocked", 1, 60), ("blocked", 4, 0), ("unsupported_country", 0, 0), ("bad_input", 1, 0)],
)
def test_only_passing_failures_with_attempts_left_are_asked_again(
    database: Database, org: Org, code: str, attempts: int, retryable: int
) -> None:
    how = opening(org)
    asyncio.run(open_batch(database, org, how))
    with database.transaction() as session:
        session.execute(update(QuestionRunRow).values(status="failed", error_code=code, attempts=attempts))
    batch = asyncio.run(open_batch(database, org, how))
    assert batch.progress.failed_retryable == retryable
    assert batch.progress.nothing_left is (retryable == 0)


async def test_a_second_flow_waits_until_the_first_gives_the_lease_back(database: Database, org: Org) -> None:
    first = await open_batch(database, org)
    waiting: list[str] = []
    second = asyncio.create_task(open_batch(database, org, on_wait=waiting.append))
    await asyncio.sleep(0.3)
    assert not second.done() and waiting == [first.lease.owner]
    await database.run(leases.release_lease, first.lease)
    assert (await second).batch_id == first.batch_id


async def test_a_lapsed_lease_is_taken_over(database: Database, org: Org) -> None:
    first = await open_batch(database, org, opening(org, lease_owner=ELSEWHERE))
    expire_lease(database, first.batch_id)
    async with asyncio.timeout(5):
        assert (await open_batch(database, org)).batch_id == first.batch_id


async def test_a_live_lease_of_another_machine_is_waited_for(database: Database, org: Org) -> None:
    await open_batch(database, org, opening(org, lease_owner=ELSEWHERE))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await open_batch(database, org)


async def test_the_lease_of_a_killed_process_is_taken_over_at_once(database: Database, org: Org) -> None:
    program = "from visibility.identity import new_owner; print(new_owner())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    await open_batch(database, org, opening(org, lease_owner=dead))
    async with asyncio.timeout(5):
        await open_batch(database, org)


def test_life_is_told_by_process_and_start_time() -> None:
    owner = new_owner()
    *machine, process_id, started, token = owner.split("|")
    assert is_alive(owner) is True
    assert is_alive("|".join([*machine, process_id, "1", token])) is False
    assert is_alive("|".join([*machine, "4194304", started, token])) is False
    assert is_alive(ELSEWHERE) is None


async def test_ten_flows_at_once_open_one_batch_and_one_has_it(database: Database, org: Org) -> None:
    tries = [asyncio.create_task(open_batch(database, org)) for _ in range(10)]
    await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.3)
    assert sum(one.done() for one in tries) == 1
    for one in tries:
        one.cancel()
    await asyncio.gather(*tries, return_exceptions=True)
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Batch)) == 1
        assert session.scalar(select(func.count()).select_from(QuestionRunRow)) == 60


async def test_a_simulated_batch_does_not_go_on_with_real_vendors(database: Database, org: Org) -> None:
    first = await open_batch(database, org, opening(org, sandbox=True))
    await database.run(leases.release_lease, first.lease)
    with pytest.raises(InvalidInput, match="cannot go on with real vendors"):
        await open_batch(database, org)
    with database.transaction() as session:
        assert session.scalar(select(Batch.lease_owner)) is None


async def test_the_sandbox_charges_no_balance_of_a_database_with_real_results(database: Database, org: Org) -> None:
    first = await open_batch(database, org)
    await database.run(leases.release_lease, first.lease)
    tomorrow = BatchKey("org", org.org_id, date(2026, 11, 24))
    with pytest.raises(InvalidInput, match="would charge its real balances"):
        await open_batch(database, org, opening(org, sandbox=True, key=tomorrow))
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Batch)) == 1


async def test_the_lease_is_renewed_while_the_flow_works(database: Database, org: Org) -> None:
    batch = await open_batch(database, org, opening(org, lease_seconds=0.6))
    async with kept_lease(database, batch.lease, 0.6):
        await asyncio.sleep(1.0)
        with database.transaction() as session:
            assert session.scalar(select(Batch.lease_expires_at > func.now()))


async def test_a_flow_that_lost_its_lease_stops(database: Database, org: Org) -> None:
    batch = await open_batch(database, org)

    async def work() -> None:
        async with kept_lease(database, batch.lease, 0.3):
            with database.transaction() as session:
                session.execute(update(Batch).values(lease_owner=str(uuid4())))
            await asyncio.sleep(30)

    with pytest.raises(LeaseLost, match="taken over"):
        await asyncio.wait_for(work(), 5)


async def test_a_renewal_that_fails_for_any_reason_is_not_the_last(
    database: Database, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await open_batch(database, org, opening(org, lease_seconds=0.6))
    renew, failures = leases.renew_lease, [RetryableError("deadlock"), RuntimeError("statement timeout")]

    def renew_lease(*args: object) -> bool:
        if failures:
            raise failures.pop()
        return renew(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "renew_lease", renew_lease)
    async with kept_lease(database, batch.lease, 0.6):
        await asyncio.sleep(1.0)
        with database.transaction() as session:
            assert session.scalar(select(Batch.lease_expires_at > func.now()))
    with database.transaction() as session:
        assert session.scalar(select(Batch.lease_owner)) is None


async def test_an_opening_that_breaks_gives_the_lease_back(
    database: Database, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_connection(*args: object) -> None:
        raise DatabaseUnavailable("The connection to Postgres was lost.")

    with monkeypatch.context() as broken:
        broken.setattr(store, "write_manifest", lose_connection)
        with pytest.raises(DatabaseUnavailable):
            await open_batch(database, org)
    async with asyncio.timeout(5):
        assert (await open_batch(database, org)).progress.expected == 60


async def test_a_batch_has_the_models_of_its_manifest_too(database: Database, org: Org) -> None:
    how = opening(org)
    await open_batch(database, org, how)
    again = await open_batch(database, dataclasses.replace(org, models=("linkup", "gemini")), how)
    assert again.models == ("linkup", "gemini", "chatgpt", "perplexity")


def test_nobody_takes_a_batch_over_in_the_middle_of_a_step(database: Database, org: Org) -> None:
    batch = asyncio.run(open_batch(database, org, opening(org, lease_owner=ELSEWHERE)))
    expire_lease(database, batch.batch_id)
    successor = opening(org)

    def take_over() -> bool:
        with database.transaction() as session:
            return store.take_lease(session, successor)[0].taken

    def step(session: Session) -> bool:
        waiting = threads.submit(take_over)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        return True

    with ThreadPoolExecutor(1) as threads, database.transaction() as session:
        assert leases.with_lease(session, batch.lease, step)
    with database.transaction() as session, pytest.raises(LeaseLost):
        leases.with_lease(session, batch.lease, step)


async def test_a_cancellation_from_outside_stays_a_cancellation(database: Database, org: Org) -> None:
    batch = await open_batch(database, org)

    async def work() -> None:
        async with kept_lease(database, batch.lease, 60):
            await asyncio.sleep(30)

    working = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
