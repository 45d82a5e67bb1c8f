"""The invariants of money for a network whose orgs come and go, under concurrency and kills, on a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support import billing as money
from tests.support.billing import REFUSALS, at_once, hold_default, hold_orgs, leave_network
from tests.support.seed import seed_balance, seed_network, seed_org
from visibility.billing.holds import release, release_expired
from visibility.billing.settlement import settle, settle_left
from visibility.store.database import Database

names = count(1)


@dataclass(frozen=True)
class World:
    """A network of three orgs with two batches of two runs, and a free-tier org of the same partner with its own."""

    network_id: UUID
    partner_id: UUID
    orgs: tuple[UUID, ...]
    batches: tuple[UUID, UUID]
    single: tuple[UUID, UUID]


def build_world(session: Session, balance: Decimal) -> World:
    """Two of the orgs are members; the limited one may spend three runs' price of 0.06 USD at most."""
    partner = {"partner_name": f"Partner {next(names)}"}
    network_id = seed_network(session, questions=2, partner_balance=balance, **partner)
    empty = {"questions": 0, "models": (), "locations": (), "websites": (), "balance": None, **partner}
    pricing = {"fixed_price": Decimal("0.06")}
    first = seed_org(session, name="first", network_id=network_id, pricing=pricing, **empty)
    limited = seed_org(session, name="limited", network_id=network_id, spend_limit=Decimal("0.20"), **empty)
    outside = seed_org(session, name="outside", **empty)
    batches = [
        money.open_network_batch(session, network_id, run_date=money.RUN_DATE + timedelta(days=day)) for day in (0, 1)
    ]
    one_place = {"models": ("chatgpt",), "locations": (("US", None, None),)}
    free = seed_org(session, name="free", is_free_tier=True, **(empty | one_place | {"questions": 2}))
    return World(
        network_id,
        money.partner_of(session, first),
        (first, limited, outside),
        (batches[0], batches[1]),
        (free, money.open_batch(session, free)),
    )


def members(session: Session, world: World) -> list[UUID]:
    """In no order that a lock order could be owed to."""
    query = text("SELECT org_id FROM orgs WHERE network_id = :n ORDER BY name")
    return list(session.execute(query, {"n": world.network_id}).scalars())


def join(session: Session, world: World, org_id: UUID) -> None:
    session.execute(text("UPDATE orgs SET network_id = :n WHERE org_id = :o"), {"n": world.network_id, "o": org_id})


def work_for_itself(session: Session, world: World) -> None:
    """A whole batch of one org in one transaction, on the balance that the network is paid from."""
    org_id, batch_id = world.single
    hold_default(session, batch_id)
    money.answer(session, batch_id, limit=1)
    money.evaluate(session, batch_id, org_id)
    settle(session, batch_id)


STEPS: dict[str, Callable[[Session, World, UUID, UUID], object]] = {
    "parent": lambda session, world, org, batch: hold_orgs(session, [batch], members(session, world)),
    "parent of both": lambda session, world, org, batch: hold_orgs(
        session, world.batches[::-1], members(session, world), expires_in=timedelta(seconds=-1)
    ),
    "child": lambda session, world, org, batch: hold_orgs(session, world.batches, [org], answered_only=True),
    "answer": lambda session, world, org, batch: money.answer(session, batch, limit=1),
    "evaluate": lambda session, world, org, batch: money.evaluate(session, batch, org),
    "settle": lambda session, world, org, batch: settle(session, batch, org),
    "settle left": lambda session, world, org, batch: settle_left(session, batch),
    "release": lambda session, world, org, batch: release(session, batch),
    "expire": lambda session, world, org, batch: release_expired(session),
    "leave": lambda session, world, org, batch: leave_network(session, org),
    "join": lambda session, world, org, batch: join(session, world, org),
    "single": lambda session, world, org, batch: work_for_itself(session, world),
}
Step = tuple[str, int, int, bool]
kills = st.sampled_from([False] * 5 + [True])
steps = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 2), st.integers(0, 1), kills)


class Killed(Exception):
    """The process is gone before the commit."""


def take(database: Database, world: World, step: Step) -> None:
    name, org, batch, killed = step
    try:
        with database.transaction() as session:
            STEPS[name](session, world, world.orgs[org], world.batches[batch])
            if killed:
                raise Killed
    except (*REFUSALS, Killed):
        pass


WRONG_CHARGES = text(
    """
    SELECT count(*) FROM partner_usage_ledger entry
    JOIN question_runs run ON run.question_run_id = entry.source_id
    WHERE entry.payer_id = :partner AND (run.status <> 'answered' OR entry.amount <> -0.06 OR NOT EXISTS (
        SELECT FROM org_evals found WHERE found.question_run_id = run.question_run_id AND found.org_id = entry.org_id))
    """
)


def check(database: Database, world: World) -> None:
    with database.transaction() as session:
        money.money_of(session, world.partner_id).check()
        assert session.execute(WRONG_CHARGES, {"partner": world.partner_id}).scalar_one() == 0


def finish(database: Database, world: World) -> None:
    """Top up and settle what is evaluated: nothing stays held."""
    with database.transaction() as session:
        seed_balance(session, "PARTNER", world.partner_id, Decimal(10))
    for org in range(3):
        for batch in range(2):
            take(database, world, ("settle", org, batch, False))
    for batch in range(2):
        take(database, world, ("settle left", 0, batch, False))
    check(database, world)
    with database.transaction() as session:
        assert money.money_of(session, world.partner_id).held == 0


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    balance=st.sampled_from([Decimal("0.12"), Decimal("0.40"), Decimal(5)]),
    threads=st.lists(st.lists(steps, min_size=6, max_size=14), min_size=3, max_size=3),
)
def test_a_partners_books_stay_exact_while_orgs_come_and_go(database, balance, threads):
    with database.transaction() as session:
        world = build_world(session, balance)
    at_once([lambda plan=plan: [take(database, world, step) for step in plan] for plan in threads])
    check(database, world)
    finish(database, world)
