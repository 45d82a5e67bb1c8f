"""A network's batch is opened as an org's is; what its orgs lack of it is not its own progress."""

from __future__ import annotations

from datetime import date

from sqlalchemy import text

from tests.support import billing
from tests.support.seed import seed_charges, seed_network, seed_org
from visibility.batches import OpenBatch, open_batch
from visibility.domain import BatchKey, Network
from visibility.identity import new_owner
from visibility.leases import kept_lease
from visibility.store import batches as store
from visibility.store.batches import Opening
from visibility.store.database import Database
from visibility.store.networks import load_network
from visibility.store.summaries import batch_totals

DAY = date(2026, 11, 23)


def network_with(database: Database, orgs: int = 2, **seeded: object) -> Network:
    with database.transaction() as session:
        network_id = seed_network(session, **seeded)  # type: ignore[arg-type]
        for number in range(orgs):
            seed_org(session, name=f"Member {number}", network_id=network_id, balance=None)
        return load_network(session, network_id)


async def opened(database: Database, network: Network) -> OpenBatch:
    opening = Opening(BatchKey("network", network.network_id, DAY), new_owner(), 60, "manual")
    return await open_batch(database, network, opening, extractor_version="v1", max_attempts=4, wait_seconds=0.05)


async def test_two_regions_of_one_country_are_asked_separately(database: Database) -> None:
    places = (("US", "Ohio", None), ("US", "Texas", None))
    batch = await opened(database, network_with(database, questions=2, locations=places))
    assert (batch.progress.expected, batch.websites, batch.models) == (4, (), ("chatgpt",))
    with database.transaction() as session:
        asked = session.execute(text("SELECT country_code, region_name, count(*) FROM question_runs GROUP BY 1, 2"))
        assert sorted(map(tuple, asked)) == [("US", "Ohio", 2), ("US", "Texas", 2)]


async def test_without_models_and_locations_the_defaults_are_asked(database: Database) -> None:
    batch = await opened(database, network_with(database, questions=2, models=(), locations=()))
    assert (batch.progress.expected, batch.models) == (6, ("chatgpt", "perplexity", "gemini"))


async def test_a_network_without_questions_has_nothing_left(database: Database) -> None:
    batch = await opened(database, network_with(database, questions=0))
    assert batch.progress.expected == 0 and batch.progress.nothing_left


async def test_an_asked_network_has_nothing_left_whoever_has_read_it(database: Database) -> None:
    network = network_with(database)
    batch = await opened(database, network)
    with database.transaction() as session:
        billing.answer(session, batch.batch_id, limit=2)
        begun = store.progress(session, batch.batch_id, "v1", 4)
        billing.answer(session, batch.batch_id)
        billing.evaluate(session, batch.batch_id, network.members[0].org_id, limit=1)
        asked = store.progress(session, batch.batch_id, "v1", 4)
    assert (begun.answered, begun.open, begun.nothing_left) == (2, 1, False)
    assert (asked.answered, asked.unevaluated, asked.uncharged, asked.nothing_left) == (3, 0, 0, True)


async def test_a_networks_batch_starts_and_ends_under_its_lease(database: Database) -> None:
    batch = await opened(database, network_with(database))
    async with kept_lease(database, batch.lease, 60):
        await database.run(store.start, batch.lease)
        assert await database.run(store.finish, batch.lease, status="completed") is not None
    assert await database.run(store.finish, batch.lease, status="failed") is None


async def test_totals_of_a_network_count_its_members_evaluations(database: Database) -> None:
    network = network_with(database, orgs=3)
    batch = await opened(database, network)
    first, second, leaving = (member.org_id for member in network.members)
    with database.transaction() as session:
        billing.answer(session, batch.batch_id)
        for org_id, answers in ((first, 3), (second, 1), (leaving, 2)):
            billing.evaluate(session, batch.batch_id, org_id, limit=answers)
        seed_charges(session, batch.batch_id, first, limit=1)
        session.execute(text("UPDATE orgs SET network_id = NULL WHERE org_id = :o"), {"o": leaving})
        totals = batch_totals(session, batch.batch_id, "v1")
        older = batch_totals(session, batch.batch_id, "v0")
    assert (totals.scope, totals.owner_id, totals.name) == ("network", network.network_id, network.name)
    assert (totals.org_id, totals.org_name) == (None, None)
    assert (totals.answered, totals.members, totals.evaluated_orgs, totals.evaluated) == (3, 2, 2, 4)
    assert (totals.charges, totals.payers) == (1, (f"PARTNER {network.partner_id}",))
    assert (older.members, older.evaluated_orgs, older.evaluated) == (2, 0, 0)


async def test_totals_of_an_org_name_it_and_a_batch_without_charges_has_no_payer(database: Database) -> None:
    with database.transaction() as session:
        org_id = seed_org(session)
        totals = batch_totals(session, billing.open_batch(session, org_id), "v1")
    assert (totals.scope, totals.org_id, totals.org_name) == ("org", org_id, "Northwind Heating")
    assert (totals.members, totals.payers, totals.payer) == (1, (), None)
