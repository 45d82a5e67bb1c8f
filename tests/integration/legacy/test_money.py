"""Balances of the old system: taken over once, explained by top-ups and ledger whatever happens in which order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from tests.support.legacy import ORG, PARTNER, writing
from visibility.billing.refunds import refund
from visibility.billing.top_ups import top_up
from visibility.legacy.__main__ import app
from visibility.legacy.balances import Payer, bring_balance, take_charges, unexplained
from visibility.legacy.report import Report

PAYER = Payer("PARTNER", PARTNER)
AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=6)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), st.decimals(min_value=0, max_value=100, places=6)),
        st.tuples(st.just("refund"), st.decimals(min_value=0, max_value=100, places=6)),
        st.tuples(st.just("pay in"), st.decimals(min_value=0, max_value=1000, places=6)),
        st.tuples(st.just("pay in here"), st.decimals(min_value=Decimal("0.000001"), max_value=1000, places=6)),
        st.tuples(st.just("import"), st.just(Decimal(0))),
    ),
    max_size=12,
)


def balance(session) -> Decimal:
    found = session.execute(text("SELECT current_balance FROM credit_balances WHERE payer_id = :id"), {"id": PARTNER})
    return found.scalar_one()


def entered(session, org_id, batch_id, amount: Decimal) -> None:
    """A ledger entry of the old system as the import writes it."""
    session.execute(
        text(
            "INSERT INTO partner_usage_ledger (org_id, partner_id, payer_type, payer_id, amount, kind, source_type,"
            " source_id, batch_id, metadata) VALUES (:org, :partner, 'PARTNER', :partner, :amount, :kind,"
            " 'question_run', :run, :batch, '{\"origin\": \"legacy\"}')"
        ),
        {
            "org": org_id, "partner": PARTNER, "amount": amount, "kind": "charge" if amount < 0 else "refund",
            "run": uuid4(), "batch": batch_id,
        },
    )  # fmt: skip


@pytest.fixture
def tenants(database):
    """The partner, an org and a batch that entries refer to."""
    batch_id = uuid4()
    with database.transaction() as session:
        session.execute(text("INSERT INTO partners (partner_id, name) VALUES (:id, 'Beacon')"), {"id": PARTNER})
        session.execute(
            text("INSERT INTO orgs (org_id, partner_id, name) VALUES (:id, :partner, 'Northwind')"),
            {"id": ORG, "partner": PARTNER},
        )
        session.execute(
            text("INSERT INTO evaluation_batches (batch_id, scope, org_id, run_date) VALUES (:id, 'org', :org, now())"),
            {"id": batch_id, "org": ORG},
        )
    return batch_id


@settings(max_examples=60)
@given(opening=AMOUNTS, events=EVENTS)
def test_after_any_history_the_balance_is_the_old_one_and_what_happened_here(database, tenants, opening, events):
    old, here, waiting = opening, Decimal(0), []
    with database.engine.connect() as connection, connection.begin() as undone:
        session = Session(connection)
        for kind, amount in [("import", Decimal(0)), *events, ("import", Decimal(0)), ("import", Decimal(0))]:
            if kind == "charge" and amount <= old:
                old -= amount
                waiting.append(-amount)
            elif kind == "refund":
                old += amount
                waiting.append(amount)
            elif kind == "pay in":
                old += amount
            elif kind == "pay in here":
                here += amount
                top_up(session, PAYER.type, PAYER.id, amount)
            elif kind == "import":
                bring_balance(session, PAYER, old, Report())
                for entry in filter(None, waiting):
                    entered(session, ORG, tenants, entry)
                take_charges(session, {PAYER: sum(waiting, Decimal(0))})
                waiting = []
                assert balance(session) == old + here
                assert list(unexplained(session, [PAYER])) == []
        undone.rollback()


def test_an_import_with_charges_makes_the_balance_of_the_old_system(legacy_url, take_over, database, day):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=80.1)
        run_id, _ = legacy.answers(ORG, day, price="0.07")
        legacy.add(
            "partner_usage_ledger", ledger_id=uuid4(), question_run_id=run_id, org_id=ORG, partner_id=PARTNER,
            amount=Decimal("0.02"), kind="refund", created_at=datetime.now(UTC),
        )  # fmt: skip
    for _ in range(2):
        take_over()
        with database.transaction() as session:
            assert balance(session) == Decimal("80.1")
            sums = session.execute(text("SELECT sum(amount) FROM partner_usage_ledger")).scalar_one()
            paid = session.execute(text("SELECT sum(amount), count(*) FROM credit_top_ups")).one()
        assert (sums, tuple(paid)) == (Decimal("-0.12"), (Decimal("80.22"), 2))


def test_what_is_held_here_is_not_taken_away(legacy_url, take_over, database, day):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=10)
        legacy.answers(ORG, day)
    take_over()
    with database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, expires_at)"
                " SELECT batch_id, org_id, 'PARTNER', :id, 8, 0.05, :late FROM evaluation_batches"
            ),
            {"id": PARTNER, "late": datetime.now(UTC) + timedelta(days=1)},
        )
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE partners SET balance = 1")
    report = take_over()
    assert [str(remark) for remark in report.remarks] == [
        f"credit_balances {PAYER}: 10.000000 USD here, of which 8.000000 are held, cannot be lowered by 9.000000."
    ]


def test_a_refund_that_is_given_here_is_not_taken_back(legacy_url, take_over, database, day):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=10)
        run_id, _ = legacy.answers(ORG, day)
    take_over()
    with database.transaction() as session:
        assert refund(session, run_id, ORG, reason="a wrong answer") == Decimal("0.05")
    assert take_over().changes == 0
    with database.transaction() as session:
        assert balance(session) == Decimal("10.05")


def test_a_partner_that_returns_to_the_old_system_takes_its_money_with_it(
    legacy_url, take_over, database, database_url, day
):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=10)
        run_id, _ = legacy.answers(ORG, day)
    take_over()
    with database.transaction() as session:
        top_up(session, "PARTNER", PARTNER, Decimal(3))
        refund(session, run_id, ORG, reason="a wrong answer")
    call = ["give-back", "--partner", str(PARTNER), "--database-url", database_url]
    assert CliRunner().invoke(app, [*call, "--dry-run"]).stdout == f"{PAYER}: add 3.050000 USD in the old system\n"
    assert CliRunner().invoke(app, call).stdout == f"{PAYER}: add 3.050000 USD in the old system\n"
    assert CliRunner().invoke(app, call).stdout == ""
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE partners SET balance = 13.05 - 0.55")  # and 0.55 are charged there
    take_over()
    with database.transaction() as session:
        assert balance(session) == Decimal("12.5")
        assert list(unexplained(session, [PAYER])) == []
    assert CliRunner().invoke(app, [*call[:2], str(uuid4()), *call[3:]]).exit_code == 2
