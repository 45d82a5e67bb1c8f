"""`python -m visibility.billing`: top-ups and refunds by hand keep the books exact."""

from __future__ import annotations

import sys
from decimal import Decimal
from uuid import uuid4

import pytest

from tests.support import billing as money
from tests.support.billing import hold_default
from tests.support.seed import seed_org
from visibility.billing.__main__ import main
from visibility.billing.settlement import settle


@pytest.fixture
def call(database_url, monkeypatch, capsys):
    """Run the command; return its exit status and what it says."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["billing", *map(str, arguments), "--database-url", database_url])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return called


def test_a_top_up_is_explained_and_adds_each_time_also_where_there_was_no_balance(call, database):
    with database.transaction() as session:
        org_id = seed_org(session)
        partner_id = money.partner_of(session, org_id)
        before = money.money_of(session, org_id).balance
    assert call("top-up", "--usd", 50, "--org-id", org_id, "--note", "invoice 4711")[0] == 0
    status, said = call("top-up", "--usd", "12.50", "--partner-id", partner_id, "--note", "invoice 4712")
    assert (status, said) == (0, f"PARTNER {partner_id}: +12.50 USD (invoice 4712), the balance is 12.500000 USD.\n")
    with database.transaction() as session:
        of_org, of_partner = money.money_of(session, org_id), money.money_of(session, partner_id)
    assert (of_org.balance - before, of_partner.balance) == (50, Decimal("12.5"))
    of_org.check()
    of_partner.check()


def test_a_refund_is_given_once(call, database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=1, models=("chatgpt",), locations=(("US", None, None),))
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, org_id)
        settle(session, batch_id)
        [run_id] = money.runs_of(session, batch_id)
        charged = money.money_of(session, org_id).balance
    arguments = ("refund", "--question-run", run_id, "--org-id", org_id, "--reason", "cut off")
    assert call(*arguments) == (0, "Refunded 0.050000 USD.\n")
    assert call(*arguments) == (0, "It was refunded before; nothing changed.\n")
    with database.transaction() as session:
        after = money.money_of(session, org_id)
    assert after.balance - charged == Decimal("0.05")
    after.check()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("top-up", "--usd", "50", "--note", "x"), "Give one payer: --org-id or --partner-id."),
        (("top-up", "--usd", "0", "--note", "x", "--org-id"), "There is no org"),
        (("top-up", "--usd", "fifty", "--note", "x", "--org-id"), "'fifty' is no amount such as 50 or 12.50."),
        (("top-up", "--usd", "0.0000001", "--note", "x", "--org-id"), "more than six decimals"),
        (("refund", "--question-run", str(uuid4()), "--reason", "x", "--org-id"), "was never charged for org"),
    ],
)
def test_a_wrong_input_is_one_sentence_and_nothing_is_written(call, database, arguments, sentence):
    given = (*arguments, uuid4()) if arguments[-1] == "--org-id" else arguments
    status, said = call(*given)
    assert status == 2 and sentence in said
    with database.transaction() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM credit_top_ups").scalar_one() == 0


def test_a_top_up_of_nothing_is_refused(call, database):
    with database.transaction() as session:
        org_id = seed_org(session)
    assert call("top-up", "--usd", "0", "--org-id", org_id, "--note", "x") == (
        2,
        "A top-up is an amount above 0 USD, not 0.\n",
    )
