"""Settlements, refunds and top-ups against a real Postgres."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import event, text

from tests.support import billing as money
from tests.support.billing import hold_default
from tests.support.seed import seed_network, seed_org
from visibility.billing.holds import release, release_expired
from visibility.billing.pricing import PricingConfig, actual_cost, price
from visibility.billing.refunds import refund
from visibility.billing.settlement import settle
from visibility.billing.top_ups import ensure_opening_balance, top_up
from visibility.errors import InsufficientCredits, InvalidInput


def evaluated_batch(session, **changes):
    """An org with a held batch of six evaluated runs."""
    org_id = seed_org(session, questions=3, models=("chatgpt", "gemini"), locations=(("US", None, None),), **changes)
    batch_id = money.open_batch(session, org_id)
    hold_default(session, batch_id)
    money.answer(session, batch_id)
    money.evaluate(session, batch_id, org_id)
    return org_id, batch_id


def test_a_settlement_debits_what_it_entered_and_closes_the_hold(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session)
        settlement = settle(session, batch_id)
        assert (settlement.entries, settlement.charged_usd) == (6, Decimal("0.30"))
        after = money.money_of(session, org_id)
        assert (after.balance, after.held) == (Decimal("99.70"), 0)
        after.check()


def test_a_second_settlement_charges_nothing(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session)
        settle(session, batch_id)
        assert settle(session, batch_id).entries == 0
        assert money.money_of(session, org_id).balance == Decimal("99.70")


def test_only_answered_and_evaluated_runs_are_charged(database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=6, models=("chatgpt",), locations=(("US", None, None),))
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        money.answer(session, batch_id, limit=3)
        money.fail(session, batch_id, "timeout", limit=1)
        money.evaluate(session, batch_id, org_id, limit=2)
        assert settle(session, batch_id).entries == 2


def test_a_batch_that_died_half_way_is_charged_in_two_halves(database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=6, models=("chatgpt",), locations=(("US", None, None),))
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        money.answer(session, batch_id, limit=2)
        money.evaluate(session, batch_id, org_id)
        assert settle(session, batch_id).charged_usd == Decimal("0.10")
        assert hold_default(session, batch_id) == Decimal("0.20")
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, org_id)
        assert settle(session, batch_id).charged_usd == Decimal("0.20")
        assert len(money.ledger(session, batch_id)) == 6


def test_a_charge_never_exceeds_the_quote_and_says_what_was_absorbed(database):
    with database.transaction() as session:
        org_id = seed_org(
            session,
            questions=1,
            models=("chatgpt",),
            locations=(("US", None, None),),
            pricing={"margin_pct": Decimal("0.5")},
        )
        batch_id = money.open_batch(session, org_id)
        assert hold_default(session, batch_id) == Decimal("0.0038")
        money.answer(session, batch_id, cost=Decimal("0.003"))
        money.evaluate(session, batch_id, org_id)
        settlement = settle(session, batch_id)
        assert (settlement.charged_usd, settlement.absorbed_usd) == (Decimal("0.0038"), Decimal("0.0030"))
        [(*_, run_id, amount, details)] = money.ledger(session, batch_id)
        assert amount == Decimal("-0.0038")
        assert details == {
            "question_run_id": str(run_id),
            "batch_id": str(batch_id),
            "actual_cost": "0.003400",
            "quoted_price": "0.003800",
            "price": "0.006800",
            "absorbed": "0.003000",
            "margin_pct": "0.500000",
            "pricing_mode": "dynamic",
            "extractor_version": "v1",
        }


def test_what_costs_less_than_quoted_is_charged_less_and_the_rest_returns(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session, pricing={"margin_pct": Decimal("0.5")})
        session.execute(text("UPDATE question_runs SET cost_usd = 0.0001"))
        assert settle(session, batch_id).charged_usd == Decimal("0.006")
        assert money.money_of(session, org_id).held == 0


def test_the_price_in_force_when_it_was_evaluated_bounds_the_charge(database):
    with database.transaction() as session:
        _, batch_id = evaluated_batch(session, pricing={"fixed_price": Decimal("0.03")})
        release(session, batch_id)
    with database.transaction() as session:
        session.execute(text("UPDATE pricing_configs SET fixed_price = 0.9"))
        hold_default(session, batch_id)
        assert settle(session, batch_id).charged_usd == Decimal("0.18")


def test_the_payer_that_was_checked_is_debited_although_the_tier_has_changed(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session, partner_balance=Decimal(5))
        session.execute(text("UPDATE orgs SET is_free_tier = true"))
        settlement = settle(session, batch_id)
        assert (settlement.payer.payer_type, settlement.payer.payer_id) == ("ORG", org_id)
        money.money_of(session, org_id).check()


def test_a_free_tier_charge_debits_the_partner_and_leaves_the_org_alone(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session, is_free_tier=True, partner_balance=Decimal(5))
        settle(session, batch_id)
        assert money.money_of(session, money.partner_of(session, org_id)).balance == Decimal("4.70")
        assert money.money_of(session, org_id).balance == 100


def test_evaluations_of_an_expired_hold_are_still_charged_at_its_quote(database):
    with database.transaction() as session:
        _, batch_id = evaluated_batch(session)
        session.execute(text("UPDATE credit_holds SET expires_at = now() - interval '1 hour'"))
        release_expired(session)
        assert settle(session, batch_id).charged_usd == Decimal("0.30")


def test_without_a_hold_what_others_have_reserved_is_not_taken(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session, balance=Decimal("0.50"))
        release(session, batch_id)
        other = money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=1))
        hold_default(session, other)
        with pytest.raises(InsufficientCredits, match="nothing was charged"):
            settle(session, batch_id)
        assert money.ledger(session, batch_id) == []
        top_up(session, "ORG", org_id, Decimal("0.10"))
        assert settle(session, batch_id).charged_usd == Decimal("0.30")
        money.money_of(session, org_id).check()


def test_evaluations_that_were_never_quoted_are_never_charged(database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=1)
        batch_id = money.open_batch(session, org_id)
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, org_id)
        with pytest.raises(InvalidInput, match="never had a hold"):
            settle(session, batch_id)


def test_settling_a_batch_without_work_charges_nothing(database):
    with database.transaction() as session:
        batch_id = money.open_batch(session, seed_org(session, questions=0, balance=None))
        assert settle(session, batch_id).entries == 0


def test_a_reevaluation_charges_nobody(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session)
        settle(session, batch_id)
        money.evaluate(session, batch_id, org_id, version="v2")
        assert settle(session, batch_id).entries == 0


def test_of_two_evaluations_of_a_run_the_first_is_charged(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session)
    with database.transaction() as session:
        money.evaluate(session, batch_id, org_id, version="v2")
        assert settle(session, batch_id).entries == 6
        assert {details["extractor_version"] for *_, details in money.ledger(session, batch_id)} == {"v1"}


def test_every_org_of_a_network_pays_its_share_of_an_answer(database):
    with database.transaction() as session:
        network_id = seed_network(session, questions=2)
        pricing = {"margin_pct": Decimal("0.5")}
        orgs = [seed_org(session, name="A", questions=0, network_id=network_id, pricing=pricing)]
        orgs += [seed_org(session, name=name, questions=0, network_id=network_id) for name in ("B", "C")]
        batch_id = money.open_network_batch(session, network_id)
        for org_id in orgs:
            hold_default(session, batch_id, org_id=org_id)
        money.answer(session, batch_id)
        for org_id in orgs:
            money.evaluate(session, batch_id, org_id)
            assert settle(session, batch_id, org_id).charged_usd == Decimal("0.0036")
        money.money_of(session, money.partner_of(session, orgs[0])).check()


def test_the_charge_is_the_price_functions(database):
    with database.transaction() as session:
        _, batch_id = evaluated_batch(session, pricing={"margin_pct": Decimal("0.37")})
        session.execute(text("SELECT setseed(0.7)"))
        session.execute(text("UPDATE credit_holds SET quoted_price = 1"))
        session.execute(text("UPDATE org_evals SET cost_usd = round(random()::numeric / 1000, 6)"))
        session.execute(text("UPDATE question_runs SET cost_usd = round(random()::numeric / 500, 6)"))
        expected = {
            run_id: price(actual_cost(answer, evaluation), PricingConfig("B", Decimal(0), Decimal("0.37"))).amount
            for run_id, answer, evaluation in session.execute(
                text(
                    "SELECT question_run_id, r.cost_usd, e.cost_usd "
                    "FROM question_runs r JOIN org_evals e USING (question_run_id)"
                )
            )
        }
        settle(session, batch_id)
        assert {run_id: -amount for *_, run_id, amount, _ in money.ledger(session, batch_id)} == expected


def test_a_refund_returns_the_charge_once_and_does_not_make_the_run_chargeable(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session)
        settle(session, batch_id)
        run_id = money.runs_of(session, batch_id)[0]
        assert refund(session, run_id, org_id, reason="answer was cut off") == Decimal("0.05")
        assert refund(session, run_id, org_id, reason="again") == 0
        assert settle(session, batch_id).entries == 0
        after = money.money_of(session, org_id)
        assert after.balance == Decimal("99.75")
        after.check()
        [details] = [details for _, _, _, kind, _, _, details in money.ledger(session, batch_id) if kind == "refund"]
        assert details["refund_reason"] == "answer was cut off"


def test_what_was_never_charged_cannot_be_refunded(database):
    with database.transaction() as session:
        org_id, batch_id = evaluated_batch(session)
        with pytest.raises(InvalidInput, match="never charged"):
            refund(session, money.runs_of(session, batch_id)[0], org_id, reason="")


def test_an_opening_balance_is_given_once(database):
    with database.transaction() as session:
        org_id = seed_org(session, balance=None)
        assert ensure_opening_balance(session, "ORG", org_id, Decimal(20))
        assert not ensure_opening_balance(session, "ORG", org_id, Decimal(30))
        after = money.money_of(session, org_id)
        assert (after.balance, after.topped_up) == (20, 20)


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity"])
def test_a_top_up_must_be_an_amount_above_zero(database, amount):
    with database.transaction() as session, pytest.raises(InvalidInput):
        top_up(session, "ORG", seed_org(session), Decimal(amount))


def test_money_moves_in_few_statements(database):
    with database.transaction() as session:
        org_id = seed_org(session)
        batch_id = money.open_batch(session, org_id)
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, org_id)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with database.transaction() as session:
        hold_default(session, batch_id)
    held = len(statements)
    with database.transaction() as session:
        assert settle(session, batch_id).entries == 60
    assert held <= 3
    assert len(statements) - held <= 4
