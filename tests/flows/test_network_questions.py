"""A network against simulated vendors: asked once, every member evaluated, every answer's brands read once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tasks.names import load_profile
from tests.support.end_state import ACTIVE_HOLDS, CHARGES, EVALUATIONS, books, execute, rows, value
from tests.support.league import DAY, MEMBERS, League, ask_only, join, leave, seed_league
from visibility.errors import BatchFailed, InsufficientCredits, InvalidInput
from visibility.network_summary import NetworkOrgSummary, NetworkSummary
from visibility.settings import Settings
from visibility.store.database import Database

CALLS = "SELECT purpose, count(*) FROM llm_calls GROUP BY purpose"
SUBMITTED = text("SELECT count(snapshot_id) FROM provider_jobs")
BALANCE = "SELECT sum(current_balance) FROM credit_balances WHERE payer_type = 'PARTNER'"


@pytest.fixture
def league(database: Database, sandbox: RunningSandbox) -> League:
    return seed_league(database, sandbox)


async def ask(settings: Settings, network_id: UUID, **parameters: Any) -> NetworkSummary:
    async with resources.opened(settings):
        return await network_questions(network_id, run_date=DAY, **parameters)


async def evaluate(settings: Settings, org_id: UUID, **parameters: Any) -> NetworkOrgSummary:
    async with resources.opened(settings):
        return await network_org_missing(org_id, since=DAY, **parameters)


async def test_every_member_is_evaluated_on_answers_that_are_bought_once(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, league: League
) -> None:
    summary = await ask(settings, league.network_id)
    assert (summary.status, summary.expected, summary.answered, summary.members) == ("completed", 24, 24, 4)
    assert sandbox.accounting()["totals"]["records_sold"] == 24
    assert summary.evaluations == value(database, EVALUATIONS) == 96
    assert {child.state for child in summary.children} == {"completed"} and len(summary.children) == 4
    assert summary.charges == value(database, CHARGES) == 96
    assert summary.charged_usd == Decimal("4.8") and value(database, BALANCE) == Decimal("995.2")
    assert {payer.split()[0] for payer in summary.payers} == {"PARTNER"}
    assert value(database, ACTIVE_HOLDS) == 0 and books(database) == {0}
    assert [standing.evaluated for standing in summary.leaderboard] == [24] * 4
    rates = [standing.figures["mention_rate"] for standing in summary.leaderboard]
    assert [rate.n for rate in rates] == [24] * 4 and all(rate.low is not None for rate in rates)
    assert value(database, "SELECT count(DISTINCT region_name) FROM question_runs") == 2


async def test_brands_are_read_once_per_answer_and_only_answers_with_a_name_are_judged(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    await ask(settings, league.network_id)
    calls = dict(rows(database, CALLS))
    with_name = value(database, "SELECT count(*) FROM org_evals WHERE reason <> 'name_absent'")
    assert calls["brands"] == 24
    assert 0 < calls["mention"] == with_name < 96
    assert value(database, "SELECT count(*) FROM brand_readings WHERE read_at IS NOT NULL") == 24


async def test_a_second_run_of_the_day_asks_reads_and_charges_nothing(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, league: League
) -> None:
    first = await ask(settings, league.network_id)
    sent = sandbox.accounting()["totals"]["calls"]
    second = await ask(settings, league.network_id)
    changing = {"flow_run_id", "children"}
    assert second.model_dump(exclude=changing) == first.model_dump(exclude=changing)
    assert sandbox.accounting()["totals"]["calls"] == sent
    assert value(database, CHARGES) == 96


async def test_two_parents_at_once_do_the_work_once(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, league: League
) -> None:
    first, second = await asyncio.gather(ask(settings, league.network_id), ask(settings, league.network_id))
    assert first.batch_id == second.batch_id and first.charged_usd == second.charged_usd
    assert sandbox.accounting()["totals"]["records_sold"] == 24
    assert value(database, EVALUATIONS) == value(database, CHARGES) == 96
    assert dict(rows(database, CALLS))["brands"] == 24


@pytest.mark.parametrize("lacking", ["questions", "members"])
async def test_a_network_without_questions_or_members_is_a_clean_finish(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, lacking: str
) -> None:
    league = seed_league(database, sandbox, **{lacking: ()})
    summary = await ask(settings, league.network_id)
    assert (summary.status, summary.expected, summary.charges) == ("completed", 0, 0)
    assert sandbox.accounting()["totals"]["records_sold"] == 0


async def test_an_unknown_network_is_refused_before_anything_is_written(
    prefect: str, database: Database, settings: Settings
) -> None:
    with pytest.raises(InvalidInput, match="There is no network"):
        await ask(settings, uuid4())
    assert value(database, "SELECT count(*) FROM evaluation_batches") == 0


async def test_a_balance_that_does_not_cover_all_members_buys_nothing(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox
) -> None:
    league = seed_league(database, sandbox, balance=Decimal("4.79"))
    with pytest.raises(InsufficientCredits, match=r"PARTNER .* has 4\.790000 USD available and needs 4\.800000 USD"):
        await ask(settings, league.network_id)
    assert sandbox.accounting()["totals"]["records_sold"] == 0
    assert rows(database, "SELECT status FROM evaluation_batches") == [("failed",)]
    execute(database, "UPDATE credit_balances SET current_balance = current_balance + 1")
    execute(database, "INSERT INTO credit_top_ups (payer_type, payer_id, amount) "
                      "SELECT payer_type, payer_id, 1 FROM credit_balances")  # fmt: skip
    assert (await ask(settings, league.network_id)).evaluations == 96


async def test_one_member_that_cannot_pay_stops_no_other(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    join(database, league.network_id, "Tiny Lender", spend_limit=Decimal("0.10"))
    settings = settings.model_copy(update={"failed_children_threshold": 0.2})
    summary = await ask(settings, league.network_id)
    failed = [child for child in summary.children if child.state != "completed"]
    assert [child.org_name for child in failed] == ["Tiny Lender"]
    assert failed[0].reason is not None and "spend_limit" in failed[0].reason
    assert summary.status == "completed" and value(database, EVALUATIONS) == 96
    settings = settings.model_copy(update={"failed_children_threshold": 0.1})
    with pytest.raises(BatchFailed, match="1 of 5"):
        await ask(settings, league.network_id)


async def test_a_balance_that_covers_two_of_four_children_pays_for_exactly_two(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    await ask_only(settings, league)
    execute(database, "UPDATE credit_balances SET current_balance = 2.4")
    execute(database, "UPDATE credit_top_ups SET amount = 2.4")
    ended = await at_once(*(evaluate(settings, org_id) for org_id in league.members.values()))
    assert sorted(isinstance(one, InsufficientCredits) for one in ended) == [False, False, True, True]
    assert value(database, EVALUATIONS) == value(database, CHARGES) == 48
    assert value(database, BALANCE) == 0 and books(database) == {0}


async def test_a_member_run_twice_at_once_is_read_and_charged_once(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    await ask_only(settings, league)
    org_id = league.members[MEMBERS[0]]
    first, second = await asyncio.gather(evaluate(settings, org_id), evaluate(settings, org_id))
    assert sorted((first.evaluated_now, second.evaluated_now)) == [0, 24]
    assert first.evaluated == second.evaluated == 24 and first.mention_rate == second.mention_rate
    assert value(database, EVALUATIONS) == value(database, CHARGES) == 24
    judged = value(database, "SELECT count(*) FROM org_evals WHERE reason <> 'name_absent'")
    calls = dict(rows(database, CALLS))
    assert (calls["brands"], calls["mention"]) == (24, judged)


async def test_who_leaves_is_not_read_and_who_joins_is_read_while_the_network_is_asked(
    prefect: str, database: Database, settings: Settings
) -> None:
    with serve_in_thread(time_scale=40) as slow:
        league = seed_league(database, slow)
        asking = asyncio.create_task(ask(settings.for_sandbox(slow.url, time_scale=100), league.network_id))
        submitted = 0
        while not submitted:
            submitted = await database.run(lambda session: session.scalar(SUBMITTED) or 0)
            await asyncio.sleep(0.02)
        leave(database, league.members[MEMBERS[3]])
        joined = join(database, league.network_id, "Newcomer Savings")
        summary = await asking
    evaluated = dict(rows(database, "SELECT org_id, count(*) FROM org_evals GROUP BY 1"))
    assert evaluated == {**{league.members[name]: 24 for name in MEMBERS[:3]}, joined: 24}
    assert {child.org_name for child in summary.children} == {*MEMBERS[:3], "Newcomer Savings"}
    assert value(database, ACTIVE_HOLDS) == 0 and value(database, CHARGES) == 96 and books(database) == {0}


async def test_nothing_is_asked_for_a_network_that_all_members_have_left(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, league: League
) -> None:
    execute(database, "UPDATE credit_balances SET current_balance = 0")
    with pytest.raises(InsufficientCredits):
        await ask(settings, league.network_id)
    for org_id in league.members.values():
        leave(database, org_id)
    with pytest.raises(BatchFailed, match="Only 0 of 24 answers came back"):
        await ask(settings, league.network_id)
    assert sandbox.accounting()["totals"]["records_sold"] == 0


async def test_answers_that_earlier_days_left_take_no_credit_from_those_of_today(
    prefect: str, database: Database, settings: Settings, league: League, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visibility.networks.DAYS_BACK", 10_000)  # whatever day it is
    await ask_only(settings, league)
    execute(database, "UPDATE evaluation_batches SET run_date = run_date - 1")
    execute(database, "UPDATE credit_balances SET current_balance = 4.8")
    execute(database, "UPDATE credit_top_ups SET amount = 4.8")
    with pytest.raises(BatchFailed, match="4 of 4 members") as failed:
        await ask(settings, league.network_id)
    assert [(child.evaluated, "USD available" in str(child.reason)) for child in failed.value.summary.children] == [
        (24, True)
    ] * 4
    assert rows(database, "SELECT run_date, count(*) FROM network_org_evals GROUP BY 1") == [(DAY, 96)]
    assert value(database, CHARGES) == 96 and value(database, ACTIVE_HOLDS) == 0 and books(database) == {0}


async def test_charges_that_cannot_be_made_do_not_fail_the_network_and_are_made_by_the_next_run(
    prefect: str, database: Database, settings: Settings, league: League, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Barrier(len(league.members))

    async def after_a_wrong_margin(*given: Any) -> Any:
        await held.wait()
        execute(database, "INSERT INTO pricing_configs (partner_id, action, fixed_price, margin_pct) "
                          "SELECT partner_id, 'question_run', 1, 7 FROM partners ON CONFLICT DO NOTHING")  # fmt: skip
        return await load_profile(*given)

    with monkeypatch.context() as patched:
        patched.setattr("flows.network_org_missing.load_profile", after_a_wrong_margin)
        summary = await ask(settings, league.network_id)
    assert (summary.status, summary.evaluations, summary.charges) == ("completed", 96, 0)
    execute(database, "DELETE FROM pricing_configs")
    assert (await ask(settings, league.network_id)).charges == value(database, CHARGES) == 96
    assert value(database, ACTIVE_HOLDS) == 0 and books(database) == {0}


async def test_joining_bills_no_history_unless_it_is_asked_for(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    await ask(settings, league.network_id)
    newcomer = join(database, league.network_id, "Newcomer Savings")
    execute(
        database, "UPDATE orgs SET network_joined_at = :day WHERE org_id = :org", day=DAY + timedelta(3), org=newcomer
    )
    async with resources.opened(settings):
        nothing = await network_org_missing(newcomer)
        assert (nothing.status, nothing.found, nothing.charges) == ("completed", 0, 0)
        everything = await network_org_missing(newcomer, since=DAY)
    assert (everything.found, everything.evaluated_now, everything.charges) == (24, 24, 24)


async def test_members_of_today_are_evaluated_on_a_batch_of_yesterday_and_on_nothing_between(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox, league: League
) -> None:
    await ask(settings, league.network_id)
    newcomer = join(database, league.network_id, "Newcomer Savings")
    execute(database, "UPDATE orgs SET network_joined_at = now() WHERE org_id = :org", org=newcomer)
    async with resources.opened(settings):
        summary = await network_questions(league.network_id, run_date=DAY - timedelta(90))
    assert {standing.name: standing.evaluated for standing in summary.leaderboard} == dict.fromkeys(
        (*MEMBERS, "Newcomer Savings"), 24
    )
    evaluated = "SELECT run_date, count(*) FROM network_org_evals WHERE org_id = :org GROUP BY 1"
    assert rows(database, evaluated, org=newcomer) == [(DAY - timedelta(90), 24)]


async def test_simulated_answers_are_never_read_for_real(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    await ask_only(settings, league)
    summary = await evaluate(settings.model_copy(update={"sandbox": False}), league.members[MEMBERS[0]])
    assert (summary.found, summary.charges) == (0, 0)


async def test_an_org_of_no_network_is_refused(
    prefect: str, database: Database, settings: Settings, league: League
) -> None:
    leave(database, league.members[MEMBERS[0]])
    with pytest.raises(InvalidInput, match="is in no network"):
        await evaluate(settings, league.members[MEMBERS[0]])
    with pytest.raises(InvalidInput, match="is not in network"):
        await evaluate(settings, league.members[MEMBERS[1]], network_id=uuid4())


async def at_once(*flows: Awaitable[Any]) -> list[Any]:
    """Run flows side by side; return what they return or raise."""
    return await asyncio.gather(*flows, return_exceptions=True)
