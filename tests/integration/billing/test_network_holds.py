"""Holds and settlements of a network's batches for all of its orgs, against a real Postgres."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import event, text

from tests.support import billing as money
from tests.support.billing import at_once, hold_default, hold_orgs, leave_network, read_for
from tests.support.seed import seed_network, seed_org, seed_partner
from visibility.billing.holds import Claim, hold_all, release_expired
from visibility.billing.settlement import settle, settle_left
from visibility.errors import InsufficientCredits, InvalidInput

TOMORROW = money.RUN_DATE + timedelta(days=1)


def member(session, network_id, name, **changes):
    return seed_org(session, name=name, questions=0, models=(), locations=(), websites=(), balance=None,
                    network_id=network_id, **changes)  # fmt: skip


def network_of(session, orgs=3, *, questions=2, balance=Decimal(100), **changes):
    """A network with that many orgs and a batch of `questions` runs: network, orgs by id, batch."""
    network_id = seed_network(session, questions=questions, partner_balance=balance)
    members = sorted(member(session, network_id, f"Org {number}", **changes) for number in range(orgs))
    return network_id, members, money.open_network_batch(session, network_id)


def asking(session, batch_id, seconds=60.0):
    """Let a flow ask the batch's questions, or (negative seconds) have died over them."""
    session.execute(
        text(
            "UPDATE evaluation_batches SET status = 'running', lease_owner = 'asker', "
            "lease_expires_at = now() + make_interval(secs => :s) WHERE batch_id = :b"
        ),
        {"b": batch_id, "s": seconds},
    )


def partner_money(session, org_id):
    return money.money_of(session, money.partner_of(session, org_id))


def test_fifty_orgs_and_several_batches_are_held_for_in_three_statements(database):
    with database.transaction() as session:
        network_id, orgs, today = network_of(session, 50)
        batches = [today, money.open_network_batch(session, network_id, run_date=TOMORROW)]
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with database.transaction() as session:
        holding = hold_orgs(session, batches, orgs)
    assert len(statements) == 3
    assert (holding.claims, holding.amount_usd, holding.refused) == (100, Decimal(10), {})
    with database.transaction() as session:
        assert partner_money(session, orgs[0]).held == 10


def test_no_claims_need_nothing_and_a_claim_given_twice_is_held_once(database):
    with database.transaction() as session:
        batch_id = money.open_batch(session, seed_org(session, questions=1, models=("chatgpt",)))
        assert hold_orgs(session, [], []).claims == 0
        org_id = session.execute(text("SELECT org_id FROM orgs")).scalar_one()
        assert hold_orgs(session, [batch_id], [None, org_id, None]).amount_usd == Decimal("0.10")


def test_a_balance_that_does_not_cover_all_orgs_places_nothing(database):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session, balance=Decimal("0.299999"))
        with pytest.raises(InsufficientCredits, match=r"PARTNER .* needs 0\.300000 USD") as refused:
            hold_orgs(session, [batch_id], orgs)
        assert refused.value.payer_id == money.partner_of(session, orgs[0])
        assert money.holds_of(session, batch_id) == []


def test_every_org_is_priced_by_its_own_partner_and_each_partner_pays(database):
    with database.transaction() as session:
        network_id, orgs, batch_id = network_of(session, 1)
        seed_partner(session, name="Other", balance=Decimal("0.99"), pricing={"fixed_price": Decimal("0.5")})
        orgs.append(member(session, network_id, "Org", partner_name="Other"))
        with pytest.raises(InsufficientCredits) as refused:
            hold_orgs(session, [batch_id], orgs)
        assert refused.value.payer_id == money.partner_of(session, orgs[1])
        assert money.holds_of(session, batch_id) == []
        session.execute(text("UPDATE pricing_configs SET fixed_price = 0.4"))
        assert hold_orgs(session, [batch_id], orgs).amount_usd == Decimal("0.90")
        assert [partner_money(session, org_id).held for org_id in orgs] == [Decimal("0.10"), Decimal("0.80")]


def test_one_spend_limit_over_several_batches_refuses_its_org_alone(database):
    with database.transaction() as session:
        network_id, orgs, today = network_of(session, balance=Decimal("0.40"))
        batches = [today, money.open_network_batch(session, network_id, run_date=TOMORROW)]
        limited = member(session, network_id, "Frugal", spend_limit=Decimal("0.19"))
        holding = hold_orgs(session, batches, [limited, *orgs[:2]])
        assert (holding.claims, holding.amount_usd) == (4, Decimal("0.40"))
        assert list(holding.refused) == [limited]
        assert "'Frugal' has a spend_limit of 0.190000 USD" in str(holding.refused[limited])
        assert holding.refused[limited].needed == Decimal("0.20")
        with pytest.raises(InsufficientCredits):
            hold_default(session, today, org_id=limited)


def test_what_a_refused_org_holds_already_is_not_given_to_others(database):
    with database.transaction() as session:
        network_id, orgs, today = network_of(session, 2, balance=Decimal("0.25"))
        hold_orgs(session, [today], orgs)
        session.execute(text("UPDATE orgs SET spend_limit = 0 WHERE org_id = :o"), {"o": orgs[0]})
        tomorrow = money.open_network_batch(session, network_id, run_date=TOMORROW)
        with pytest.raises(InsufficientCredits) as refused:
            hold_orgs(session, [today, tomorrow], orgs)
        assert (refused.value.balance, refused.value.needed) == (Decimal("0.15"), Decimal("0.20"))
        assert list(hold_orgs(session, [today], orgs).refused) == orgs[:1]
        assert partner_money(session, orgs[0]).held == Decimal("0.20")


def test_an_org_that_is_no_member_cannot_be_held_for(database):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session)
        hold_orgs(session, [batch_id], orgs)
        leave_network(session, orgs[0])
        with pytest.raises(InvalidInput, match=str(orgs[0])):
            hold_orgs(session, [batch_id], orgs)


@pytest.mark.parametrize("covered", [0, 3, 6])
def test_of_n_children_at_once_exactly_those_hold_that_the_balance_covers(database, covered):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session, 6, balance=Decimal("0.10") * covered + Decimal("0.09"))
        money.answer(session, batch_id)

    def child(org_id):
        with database.transaction() as session:
            hold_default(session, batch_id, org_id=org_id, answered_only=True)
        with database.transaction() as session:
            money.evaluate(session, batch_id, org_id)
        with database.transaction() as session:
            return settle(session, batch_id, org_id).charged_usd

    outcomes = at_once([lambda org_id=org_id: child(org_id) for org_id in orgs])
    assert outcomes.count(Decimal("0.10")) == covered
    assert sum(isinstance(outcome, InsufficientCredits) for outcome in outcomes) == 6 - covered
    with database.transaction() as session:
        after = partner_money(session, orgs[0])
        after.check()
        assert (after.balance, after.held) == (Decimal("0.09"), 0)


def test_a_child_resizes_its_parents_hold_to_the_answers_and_keeps_the_lower_quote(database):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session, 2, questions=4, pricing=None)
        hold_orgs(session, [batch_id], orgs)
        money.answer(session, batch_id, limit=3)
        seed_partner(session, pricing={"fixed_price": Decimal("0.9")})
        assert hold_default(session, batch_id, org_id=orgs[0], answered_only=True) == Decimal("0.15")
        assert partner_money(session, orgs[0]).held == Decimal("0.35")


def test_nothing_answered_gives_back_the_hold(database):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session, 1)
        hold_orgs(session, [batch_id], orgs)
        assert hold_orgs(session, [batch_id], orgs, answered_only=True).claims == 0
        assert money.holds_of(session, batch_id) == [("released", Decimal("0.10"))]


@pytest.mark.parametrize(("seconds", "left"), [(60, Decimal("0.15")), (-1, Decimal(0))])
def test_a_child_keeps_what_a_live_flow_is_still_asking_for(database, seconds, left):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session, 1, questions=4)
        hold_orgs(session, [batch_id], orgs)
        asking(session, batch_id, seconds)
        money.answer(session, batch_id, limit=1)
        hold_orgs(session, [batch_id], orgs, answered_only=True)
        assert partner_money(session, orgs[0]).held == left + Decimal("0.05")
        money.evaluate(session, batch_id, orgs[0])
        assert settle(session, batch_id, orgs[0]).charged_usd == Decimal("0.05")
        assert partner_money(session, orgs[0]).held == left


def test_an_org_that_has_left_is_charged_for_what_was_evaluated_at_its_quote(database):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session, pricing={"margin_pct": Decimal("0.5")}, orgs=1)
        network_id = session.execute(text("SELECT network_id FROM networks")).scalar_one()
        orgs += [member(session, network_id, name) for name in ("B", "C")]
        hold_orgs(session, [batch_id], orgs)
        money.answer(session, batch_id)
        money.evaluate(session, batch_id, orgs[0])
        leave_network(session, orgs[0])
        settlement = settle(session, batch_id, orgs[0])
        assert (settlement.entries, settlement.charged_usd) == (2, Decimal("0.0036"))  # still a third of the answer
        assert partner_money(session, orgs[0]).held == Decimal("0.0072")
        with pytest.raises(InvalidInput, match="There is no batch"):
            settle(session, batch_id, seed_org(session, name="Stranger", questions=0))


@pytest.mark.parametrize(("share", "answer_cost", "charge"), [(True, "0.0044", "0.0060"), (False, "0.0015", "0.0076")])
def test_an_answer_is_shared_by_members_and_by_leavers_that_were_evaluated(database, share, answer_cost, charge):
    with database.transaction() as session:
        pricing = {"margin_pct": Decimal("0.5"), "share_answer_cost": share}
        _, orgs, batch_id = network_of(session, 1, pricing=pricing)
        network_id = session.execute(text("SELECT network_id FROM networks")).scalar_one()
        orgs += [member(session, network_id, name) for name in ("B", "C")]
        hold_orgs(session, [batch_id], orgs)
        session.execute(text("UPDATE credit_holds SET quoted_price = 1"))
        orgs.append(member(session, network_id, "Joined"))
        money.answer(session, batch_id, cost=Decimal(answer_cost))
        for org_id in orgs[:3]:
            money.evaluate(session, batch_id, org_id)
        for org_id in orgs[1:3]:
            leave_network(session, org_id)
        charged = [settle(session, batch_id, org_id).charged_usd for org_id in orgs[:3]]
        # two runs at (0.0044 / 4 + 0.0004) / 0.5 shared, (0.0015 + 0.0004) / 0.5 not shared
        assert charged == [Decimal(charge)] * 3


def test_holds_on_which_nobody_works_are_settled_and_closed(database):
    with database.transaction() as session:
        network_id, orgs, batch_id = network_of(session)
        hold_orgs(session, [batch_id], orgs)
        money.answer(session, batch_id)
        left, at_work, died = orgs
        leave_network(session, left)
        read_for(session, at_work, network_id)
        read_for(session, died, network_id, seconds=-1)
        for org_id in (at_work, died):
            money.evaluate(session, batch_id, org_id, limit=1)
        assert sorted(settled.charged_usd for settled in settle_left(session, batch_id)) == [0, Decimal("0.05")]
        assert partner_money(session, left).held == Decimal("0.10")
        session.execute(text("UPDATE reading_leases SET lease_owner = NULL"))
        assert [settled.charged_usd for settled in settle_left(session, batch_id)] == [Decimal("0.05")]
        assert settle_left(session, batch_id) == []
        partner_money(session, left).check()


def test_a_child_that_starts_while_what_is_left_is_settled_holds_anew(database):
    with database.transaction() as session:
        network_id, orgs, batch_id = network_of(session, 2)
        money.answer(session, batch_id)
        hold_orgs(session, [batch_id], orgs)

    def child(org_id):
        with database.transaction() as session:
            read_for(session, org_id, network_id)
        with database.transaction() as session:
            hold_default(session, batch_id, org_id=org_id, answered_only=True)

    def clear():
        with database.transaction() as session:
            settle_left(session, batch_id)

    at_once([clear, *(lambda org_id=org_id: child(org_id) for org_id in orgs), clear])
    with database.transaction() as session:
        assert [status for status, _ in money.holds_of(session, batch_id)].count("active") == 2


def test_whatever_order_the_claims_come_in_nothing_waits_for_each_other_for_ever(database):
    with database.transaction() as session:
        network_id, orgs, today = network_of(session, 8)
        for org_id in orgs[::2]:
            session.execute(text("UPDATE orgs SET spend_limit = 5 WHERE org_id = :o"), {"o": org_id})
        batches = [today, money.open_network_batch(session, network_id, run_date=TOMORROW)]

    def work(seed):
        for number in range(4):
            shuffled = random.Random(seed + number).sample(orgs, len(orgs))
            with database.transaction() as session:
                hold_orgs(session, batches, shuffled)
            with database.transaction() as session:
                settle_left(session, batches[number % 2])

    at_once([lambda seed=seed: work(seed) for seed in range(0, 20, 4)])
    with database.transaction() as session:
        partner_money(session, orgs[0]).check()


def test_an_expired_hold_stays_while_its_org_is_read_for(database):
    with database.transaction() as session:
        network_id, orgs, batch_id = network_of(session)
        hold_orgs(session, [batch_id], orgs, expires_in=timedelta(seconds=-1))
        read_for(session, orgs[1], network_id)
        assert {hold.org_id for hold in release_expired(session)} == {orgs[0], orgs[2]}


def test_an_unknown_batch_among_known_ones_is_named(database):
    with database.transaction() as session:
        _, orgs, batch_id = network_of(session)
        claims = [Claim(batch_id, orgs[0]), Claim(orgs[1])]
        with pytest.raises(InvalidInput, match=f"There is no batch {orgs[1]}"):
            hold_all(session, claims, **money.USUAL_HOLD)
