"""The invariants of money, under concurrency and under kills, against a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support import billing as money
from tests.support.billing import REFUSALS, at_once, hold_default
from tests.support.seed import seed_org
from visibility.billing.holds import release, release_expired
from visibility.billing.refunds import refund
from visibility.billing.settlement import settle
from visibility.billing.top_ups import top_up
from visibility.errors import DatabaseUnavailable, InsufficientCredits
from visibility.store.database import Database

names = count(1)


@dataclass(frozen=True)
class World:
    """A free-tier org and a paying one of one partner: two batches each, of two runs at six cents.

    Their spend limits cover three runs.
    """

    payers: tuple[UUID, UUID]
    batches: tuple[tuple[UUID, UUID], ...]


def build_world(session: Session, balance: Decimal) -> World:
    number = next(names)
    shape = {"questions": 2, "models": ("chatgpt",), "locations": (("US", None, None),)}
    partner = {"partner_name": f"Partner {number}", "spend_limit": Decimal("0.20")}
    pricing = {"fixed_price": Decimal("0.06")}
    paying = seed_org(session, name="paying", balance=balance, pricing=pricing, **shape, **partner)
    free = seed_org(session, name="free", balance=None, is_free_tier=True, partner_balance=balance, **shape, **partner)
    batches = tuple(
        (org_id, money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=day)))
        for org_id in (paying, free)
        for day in range(2)
    )
    return World((paying, money.partner_of(session, free)), batches)


Step = tuple[str, int]
STEPS: dict[str, Callable[[Session, UUID, UUID], object]] = {
    "hold": lambda session, org_id, batch_id: hold_default(session, batch_id),
    "hold for a moment": lambda session, org_id, batch_id: hold_default(
        session, batch_id, expires_in=timedelta(seconds=-1)
    ),
    "work": lambda session, org_id, batch_id: work(session, org_id, batch_id),
    "settle": lambda session, org_id, batch_id: settle(session, batch_id),
    "release": lambda session, org_id, batch_id: release(session, batch_id),
    "expire": lambda session, org_id, batch_id: release_expired(session),
    "refund": lambda session, org_id, batch_id: refund(
        session, money.runs_of(session, batch_id)[0], org_id, reason="test"
    ),
    "top up": lambda session, org_id, batch_id: top_up(session, "ORG", org_id, Decimal("0.01")),
}
steps = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3))


def work(session: Session, org_id: UUID, batch_id: UUID) -> None:
    money.answer(session, batch_id, limit=1)
    money.evaluate(session, batch_id, org_id)


def take(database: Database, world: World, step: Step) -> None:
    name, number = step
    try:
        with database.transaction() as session:
            STEPS[name](session, *world.batches[number])
    except REFUSALS:
        pass


def check_world(session: Session, world: World) -> None:
    for payer_id in world.payers:
        money.money_of(session, payer_id).check()
    wrong = session.execute(
        text(
            """
            SELECT count(*) FROM partner_usage_ledger entry
            JOIN question_runs run ON run.question_run_id = entry.source_id
            LEFT JOIN org_evals found ON found.question_run_id = run.question_run_id AND found.org_id = entry.org_id
            WHERE entry.kind = 'charge'
              AND (found.evaluation_id IS NULL OR run.status <> 'answered' OR entry.amount <> -0.06)
            """
        )
    ).scalar_one()
    assert wrong == 0
    twice = text(
        "SELECT count(*) - count(DISTINCT (source_id, org_id)) FROM partner_usage_ledger WHERE kind = 'charge'"
    )
    assert session.execute(twice).scalar_one() == 0


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    balance=st.sampled_from([Decimal("0.05"), Decimal("0.12"), Decimal("0.25"), Decimal(5)]),
    threads=st.lists(st.lists(steps, min_size=3, max_size=10), min_size=3, max_size=3),
)
def test_balances_explain_themselves_whatever_runs_at_once(database, balance, threads):
    with database.transaction() as session:
        world = build_world(session, balance)
    at_once([lambda plan=plan: [take(database, world, step) for step in plan] for plan in threads])
    with database.transaction() as session:
        check_world(session, world)


@pytest.mark.parametrize(("batches", "covered"), [(8, 0), (8, 3), (8, 8)])
@pytest.mark.parametrize("is_free_tier", [False, True])
def test_of_n_batches_at_once_exactly_those_run_that_the_balance_covers(database, batches, covered, is_free_tier):
    with database.transaction() as session:
        balance = Decimal("0.10") * covered + Decimal("0.09")
        org_id = seed_org(
            session, questions=2, models=("chatgpt",), locations=(("US", None, None),), is_free_tier=is_free_tier,
            balance=None if is_free_tier else balance, partner_balance=balance if is_free_tier else None,
        )  # fmt: skip
        opened = [
            money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=day)) for day in range(batches)
        ]

    def run_batch(batch_id: UUID) -> Decimal:
        with database.transaction() as session:
            hold_default(session, batch_id)
        with database.transaction() as session:
            money.answer(session, batch_id)
            money.evaluate(session, batch_id, org_id)
        with database.transaction() as session:
            return settle(session, batch_id).charged_usd

    outcomes = at_once([lambda batch_id=batch_id: run_batch(batch_id) for batch_id in opened])
    assert outcomes.count(Decimal("0.10")) == covered
    assert sum(isinstance(outcome, InsufficientCredits) for outcome in outcomes) == batches - covered
    with database.transaction() as session:
        payer = money.partner_of(session, org_id) if is_free_tier else org_id
        after = money.money_of(session, payer)
        after.check()
        assert (after.balance, after.held) == (Decimal("0.09"), 0)


def test_one_spend_limit_holds_for_batches_at_once(database):
    with database.transaction() as session:
        org_id = seed_org(
            session, questions=2, models=("chatgpt",), locations=(("US", None, None),), spend_limit=Decimal("0.25")
        )
        opened = [money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=day)) for day in range(6)]

    def hold_one(batch_id: UUID) -> Decimal:
        with database.transaction() as session:
            return hold_default(session, batch_id)

    outcomes = at_once([lambda batch_id=batch_id: hold_one(batch_id) for batch_id in opened])
    assert outcomes.count(Decimal("0.10")) == 2


@pytest.mark.parametrize("what", ["hold", "settle", "refund"])
def test_the_same_thing_done_at_once_happens_once(database, what):
    with database.transaction() as session:
        world = build_world(session, Decimal(5))
        org_id, batch_id = world.batches[0]
        hold_default(session, batch_id)
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, org_id)
        if what == "refund":
            settle(session, batch_id)

    def do() -> object:
        with database.transaction() as session:
            return STEPS[what](session, org_id, batch_id)

    outcomes = at_once([do] * 6)
    with database.transaction() as session:
        check_world(session, world)
        after = money.money_of(session, org_id)
    if what == "hold":
        assert after.held == Decimal("0.12")
    elif what == "settle":
        assert sorted(outcome.entries for outcome in outcomes) == [0, 0, 0, 0, 0, 2]
    else:
        assert sorted(outcomes) == [0, 0, 0, 0, 0, Decimal("0.06")]


class Killed(Exception):
    """The process is gone."""


def run_to_the_end(database: Database, org_id: UUID, batch_id: UUID, run_id: UUID) -> None:
    """What a flow does with money, each step in its own transaction; harmless to repeat."""
    for step in (
        lambda session: hold_default(session, batch_id),
        lambda session: money.answer(session, batch_id, limit=1),
        lambda session: money.evaluate(session, batch_id, org_id),
        lambda session: settle(session, batch_id),
        lambda session: hold_default(session, batch_id),
        lambda session: money.answer(session, batch_id),
        lambda session: money.evaluate(session, batch_id, org_id),
        lambda session: settle(session, batch_id),
        lambda session: refund(session, run_id, org_id, reason="test"),
    ):
        with database.transaction() as session:
            step(session)


def end_state(database: Database, org_id: UUID, batch_id: UUID) -> tuple[object, ...]:
    with database.transaction() as session:
        after = money.money_of(session, org_id)
        after.check()
        entries = [entry[3:6] for entry in money.ledger(session, batch_id)]
        return after.balance, after.held, sorted((kind, amount) for kind, _, amount in entries)


def seed_killed(database: Database) -> tuple[UUID, UUID, UUID]:
    with database.transaction() as session:
        org_id, batch_id = build_world(session, Decimal(1)).batches[0]
        return org_id, batch_id, money.runs_of(session, batch_id)[0]


@pytest.mark.parametrize("moment", ["before_cursor_execute", "after_cursor_execute", "commit"])
def test_a_rerun_after_a_kill_at_any_statement_ends_like_an_undisturbed_run(database, moment):
    undisturbed = seed_killed(database)
    run_to_the_end(database, *undisturbed)
    expected = end_state(database, *undisturbed[:2])

    for kill_at in count(1):
        world = seed_killed(database)
        survived = killed_at(database, moment, kill_at, lambda world=world: run_to_the_end(database, *world))
        if survived:
            break
        with database.transaction() as session:
            money.money_of(session, world[0]).check()
        run_to_the_end(database, *world)
        assert end_state(database, *world[:2]) == expected
    assert kill_at > (8 if moment == "commit" else 20)


def killed_at(database: Database, moment: str, number: int, run: Callable[[], None]) -> bool:
    """Run with the server ending the connection at the n-th statement (or commit); True when it was not reached."""
    seen = count(1)

    def kill(connection, *_):
        if next(seen) != number:
            return
        connection.connection.dbapi_connection.close()  # what Postgres sees of a process that is gone
        raise Killed

    event.listen(database.engine, moment, kill)
    try:
        run()
    except (Killed, DatabaseUnavailable):
        return False
    finally:
        event.remove(database.engine, moment, kill)
    return True
