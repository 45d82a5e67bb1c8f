"""Holds against a real Postgres."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from tests.support import billing as money
from tests.support.billing import hold_default
from tests.support.seed import seed_balance, seed_network, seed_org
from visibility.billing.holds import release, release_expired
from visibility.billing.settlement import settle
from visibility.billing.top_ups import top_up
from visibility.errors import ConfigurationError, InsufficientCredits, InvalidInput


def small_org(session, **changes):
    """An org with six question runs a day."""
    return seed_org(session, questions=3, models=("chatgpt", "gemini"), locations=(("US", None, None),), **changes)


def test_a_hold_reserves_the_quoted_price_of_every_run(database):
    with database.transaction() as session:
        org_id = small_org(session)
        batch_id = money.open_batch(session, org_id)
        assert hold_default(session, batch_id) == Decimal("0.30")
        assert money.money_of(session, org_id).held == Decimal("0.30")


def test_holding_again_resizes_the_hold_and_never_doubles_it(database):
    with database.transaction() as session:
        org_id = small_org(session, balance=Decimal("0.30"))
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        money.fail(session, batch_id, "unsupported_country", limit=2)
        assert hold_default(session, batch_id) == Decimal("0.20")
        assert money.holds_of(session, batch_id) == [("active", Decimal("0.20"))]


def test_a_hold_that_is_repeated_keeps_the_lower_quote(database):
    with database.transaction() as session:
        org_id = small_org(session, pricing={"fixed_price": Decimal("0.03")})
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        session.execute(text("UPDATE pricing_configs SET fixed_price = 0.9"))
        assert hold_default(session, batch_id) == Decimal("0.18")


def test_charged_runs_are_not_held_for_again(database):
    with database.transaction() as session:
        org_id = small_org(session)
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        money.answer(session, batch_id, limit=4)
        money.evaluate(session, batch_id, org_id)
        settle(session, batch_id)
        assert hold_default(session, batch_id) == Decimal("0.10")
        assert money.holds_of(session, batch_id) == [("active", Decimal("0.10")), ("settled", Decimal("0.30"))]


def test_runs_that_are_never_asked_again_are_not_held_for(database):
    with database.transaction() as session:
        batch_id = money.open_batch(session, small_org(session))
        money.fail(session, batch_id, "content_refused", limit=1)
        money.fail(session, batch_id, "timeout", attempts=4, limit=1)
        assert hold_default(session, batch_id) == Decimal("0.25")
        assert hold_default(session, batch_id, max_attempts=4) == Decimal("0.20")


def test_nothing_to_pay_for_needs_no_hold_and_no_balance(database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=0, balance=None)
        batch_id = money.open_batch(session, org_id)
        assert hold_default(session, batch_id) == 0
        assert money.holds_of(session, batch_id) == []


def test_a_hold_for_which_nothing_is_left_is_given_back(database):
    with database.transaction() as session:
        batch_id = money.open_batch(session, small_org(session))
        hold_default(session, batch_id)
        money.fail(session, batch_id, "content_refused")
        assert hold_default(session, batch_id) == 0
        assert money.holds_of(session, batch_id) == [("released", Decimal("0.30"))]


@pytest.mark.parametrize("balance", [None, Decimal(0), Decimal("0.299999")])
def test_too_little_credit_is_refused_with_payer_balance_and_need(database, balance):
    with database.transaction() as session:
        org_id = small_org(session, balance=balance)
        batch_id = money.open_batch(session, org_id)
        with pytest.raises(InsufficientCredits) as refused:
            hold_default(session, batch_id)
        error = refused.value
        assert (error.payer_type, error.payer_id) == ("ORG", org_id)
        assert (error.balance, error.needed) == (balance or 0, Decimal("0.30"))
        assert money.holds_of(session, batch_id) == []


def test_what_other_batches_hold_is_not_available(database):
    with database.transaction() as session:
        org_id = small_org(session, balance=Decimal("0.50"))
        hold_default(session, money.open_batch(session, org_id))
        tomorrow = money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=1))
        with pytest.raises(InsufficientCredits, match=r"0\.200000 USD available and needs 0\.300000"):
            hold_default(session, tomorrow)


def test_a_free_tier_orgs_partner_pays(database):
    with database.transaction() as session:
        org_id = small_org(session, is_free_tier=True, balance=Decimal(100), partner_balance=Decimal("0.10"))
        batch_id = money.open_batch(session, org_id)
        with pytest.raises(InsufficientCredits) as refused:
            hold_default(session, batch_id)
        assert (refused.value.payer_type, refused.value.balance) == ("PARTNER", Decimal("0.10"))


def test_a_network_batch_is_held_for_each_org_and_paid_by_the_partner(database):
    with database.transaction() as session:
        network_id = seed_network(session, questions=6)
        orgs = [seed_org(session, name=name, questions=0, network_id=network_id) for name in ("A", "B")]
        batch_id = money.open_network_batch(session, network_id)
        amounts = [hold_default(session, batch_id, org_id=org_id) for org_id in orgs]
        assert amounts == [Decimal("0.30"), Decimal("0.30")]
        assert money.money_of(session, money.partner_of(session, orgs[0])).held == Decimal("0.60")


def test_a_networks_answer_is_quoted_at_the_orgs_share_of_its_cost(database):
    with database.transaction() as session:
        network_id = seed_network(session, questions=1)
        pricing = {"margin_pct": Decimal("0.5")}
        org_id = seed_org(session, name="A", questions=0, network_id=network_id, pricing=pricing)
        for name in ("B", "C"):
            seed_org(session, name=name, questions=0, network_id=network_id)
        batch_id = money.open_network_batch(session, network_id)
        assert hold_default(session, batch_id, org_id=org_id) == Decimal("0.0018")  # (0.0015 / 3 + 0.0004) / 0.5
        release(session, batch_id)
        session.execute(text("UPDATE pricing_configs SET share_answer_cost = false"))
        assert hold_default(session, batch_id, org_id=org_id) == Decimal("0.0038")


@pytest.mark.parametrize("payer", ["ORG", "PARTNER"])
def test_a_spend_limit_is_held_and_named(database, payer):
    with database.transaction() as session:
        free = payer == "PARTNER"
        org_id = small_org(session, is_free_tier=free, partner_balance=Decimal(100), spend_limit=Decimal("0.50"))
        first = money.open_batch(session, org_id)
        hold_default(session, first)
        money.answer(session, first, limit=5)
        money.evaluate(session, first, org_id)
        settle(session, first)
        second = money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=1))
        with pytest.raises(InsufficientCredits, match=r"'Northwind Heating' has a spend_limit of 0\.500000") as refused:
            hold_default(session, second)
        assert refused.value.payer_type == payer
        assert (refused.value.balance, refused.value.needed) == (Decimal("0.25"), Decimal("0.30"))


def test_a_margin_out_of_range_is_refused_before_anything_is_held(database):
    with database.transaction() as session:
        batch_id = money.open_batch(session, small_org(session, pricing={"margin_pct": Decimal(40)}))
        with pytest.raises(ConfigurationError, match="Beacon Agency"):
            hold_default(session, batch_id)


def test_a_free_price_is_held_as_zero_and_can_be_settled(database):
    with database.transaction() as session:
        org_id = small_org(session, balance=None, pricing={"fixed_price": Decimal(0)})
        batch_id = money.open_batch(session, org_id)
        assert hold_default(session, batch_id) == 0
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, org_id)
        assert settle(session, batch_id).entries == 6


def test_an_unknown_batch_is_an_error(database):
    with database.transaction() as session, pytest.raises(InvalidInput, match="There is no batch"):
        hold_default(session, small_org(session))


def test_a_network_batch_needs_an_org_of_the_network(database):
    with database.transaction() as session:
        batch_id = money.open_network_batch(session, seed_network(session))
        stranger = small_org(session)
        for org_id in (None, stranger):
            with pytest.raises(InvalidInput):
                hold_default(session, batch_id, org_id=org_id)


def test_releasing_gives_everything_back_and_releasing_again_nothing(database):
    with database.transaction() as session:
        org_id = small_org(session)
        batch_id = money.open_batch(session, org_id)
        hold_default(session, batch_id)
        assert [(hold.org_id, hold.amount) for hold in release(session, batch_id)] == [(org_id, Decimal("0.30"))]
        assert release(session, batch_id) == []
        assert money.money_of(session, org_id).held == 0


def test_only_expired_holds_of_dead_flows_are_released(database):
    with database.transaction() as session:
        org_id = small_org(session)
        batches = [money.open_batch(session, org_id, run_date=money.RUN_DATE + timedelta(days=day)) for day in range(3)]
        fresh, dead, alive = batches
        hold_default(session, fresh)
        for batch_id in (dead, alive):
            hold_default(session, batch_id, expires_in=timedelta(seconds=-1))
        session.execute(
            text(
                "UPDATE evaluation_batches SET status = 'running', lease_owner = 'someone', "
                "lease_expires_at = now() + interval '1 minute' WHERE batch_id = :b"
            ),
            {"b": alive},
        )
        assert [hold.batch_id for hold in release_expired(session)] == [dead]
        assert release_expired(session) == []


def test_a_top_up_lets_a_refused_batch_hold(database):
    with database.transaction() as session:
        org_id = small_org(session, balance=None)
        batch_id = money.open_batch(session, org_id)
        with pytest.raises(InsufficientCredits):
            hold_default(session, batch_id)
        top_up(session, "ORG", org_id, Decimal("0.30"), "invoice 7")
        assert hold_default(session, batch_id) == Decimal("0.30")


def test_the_seeded_balance_is_explained_by_its_top_up(database):
    with database.transaction() as session:
        org_id = small_org(session)
        seed_balance(session, "ORG", org_id, Decimal(3))
        session.flush()
        money.money_of(session, org_id).check()
