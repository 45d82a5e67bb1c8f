"""Balances of the old system: taken over once, explained by top-ups and ledger whatever happens in which order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from tests.support.legacy import ORG, OTHER, PARTNER, writing
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
    told = f"{PAYER}: add 3.050000 USD in the old system\n"
    assert CliRunner().invoke(app, [*call, "--dry-run"]).stdout == f"{told}Dry run: nothing was changed.\n"
    done = CliRunner().invoke(app, call).stdout
    assert done.startswith(told) and "stand in credit_top_ups" in done
    assert CliRunner().invoke(app, call).stdout == "Nothing has moved here.\n"
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE partners SET balance = 13.05 - 0.55")  # and 0.55 are charged there
    take_over()
    with database.transaction() as session:
        assert balance(session) == Decimal("12.5")
        assert list(unexplained(session, [PAYER])) == []
    assert CliRunner().invoke(app, [*call[:2], str(uuid4()), *call[3:]]).exit_code == 2


def test_amounts_are_told_only_when_all_of_them_are_given_back(legacy_url, take_over, database, cli, day):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=10)
        legacy.answers(ORG, day)
    take_over()
    with database.transaction() as session:
        top_up(session, "PARTNER", PARTNER, Decimal(3))
        top_up(session, "ORG", ORG, Decimal(5))
        session.execute(
            text(
                "INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, expires_at)"
                " SELECT batch_id, org_id, 'ORG', org_id, 1, 0.05, now() + interval '1 day' FROM evaluation_batches"
            )
        )
    refused = cli("give-back", "--partner", str(PARTNER))
    assert refused.exit_code == 2 and refused.stdout == ""
    with database.transaction() as session:
        assert balance(session) == 13


def entries(here):
    return here("SELECT kind, amount FROM partner_usage_ledger ORDER BY kind, amount")


def test_what_is_charged_in_the_old_system_after_the_first_import_is_charged_here(
    legacy_url, take_over, database, here, day
):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=80)
        run_ids = legacy.answers(ORG, day)
        legacy.run("DELETE FROM partner_usage_ledger")
    take_over()
    assert entries(here) == [("charge", 0), ("charge", 0)]
    with writing(legacy_url) as legacy:
        for run_id in run_ids:
            legacy.charge(run_id, ORG, day)
        legacy.run("UPDATE partners SET balance = balance - 0.1")
    take_over()
    assert entries(here) == [("charge", Decimal("-0.05"))] * 2
    with database.transaction() as session:
        assert balance(session) == Decimal("79.9")
        assert list(unexplained(session, [PAYER])) == []
    assert take_over().changes == 0


def test_a_ledger_that_is_archived_there_stays_here(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    take_over()
    with writing(legacy_url) as legacy:
        legacy.run("DELETE FROM partner_usage_ledger")
    report = take_over()
    assert (report.failures, report.changes, entries(here)) == ([], 0, [("charge", Decimal("-0.05"))] * 2)


def test_charges_of_an_org_that_moved_to_another_partner_stay_with_the_first(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    take_over()
    with writing(legacy_url) as legacy:
        legacy.add("partners", partner_id=OTHER, name="Second", balance=5)
        legacy.run("UPDATE orgs SET partner_id = :other WHERE org_id = :org", other=OTHER, org=ORG)
    report = take_over()
    assert (report.failures, report.sum_of("skipped")) == ([], 0)
    assert here("SELECT DISTINCT payer_id FROM partner_usage_ledger") == [(PARTNER,)]
    assert here("SELECT partner_id FROM orgs WHERE org_id = :org", org=ORG) == [(OTHER,)]
    assert take_over().changes == 0


def test_a_refund_is_known_by_its_sign_where_no_kind_says_it(legacy_url, take_over, here, cli, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        run_id, _ = legacy.answers(ORG, day)
        legacy.run("UPDATE partner_usage_ledger SET amount = -amount")
        legacy.charge(run_id, ORG, day, price="0.02", name="back")
        legacy.run("UPDATE partner_usage_ledger SET created_at = created_at + interval '1 hour' WHERE amount > 0")
    take_over()
    assert entries(here) == [("charge", Decimal("-0.05"))] * 2 + [("refund", Decimal("0.02"))]
    told = cli("compare", "--since", str(day), "--until", str(day), "--json")
    assert json.loads(told.stdout)[0]["charged_old"] == "0.080000"


def test_a_negative_balance_of_the_old_system_is_in_the_last_line(legacy_url, cli):
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=10)
    assert cli("import").exit_code == 0
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE partners SET balance = -2")
    last = cli("import").stdout.splitlines()[-1]
    assert last.startswith("Nothing changed. ") and f"The balance of {PAYER} is not the old one: it is -2.0" in last
