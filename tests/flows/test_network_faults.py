"""Faults, a failing member, a cancelled parent: a network's run ends with reasons, and a quiet rerun completes it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from sandbox.faults import CHAT, FAULTS
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.broken_statements import break_statement, repair_statement
from tests.support.end_state import CHARGES, EVALUATIONS, LEASES, end_state, execute, rows, undisturbed, value
from tests.support.league import DAY, MEMBERS, QUESTIONS, League, ask_only, seed_league
from tests.support.slack import alerts
from tests.support.waiting import PATIENCE
from visibility.errors import BatchFailed
from visibility.network_summary import NetworkOrgSummary, NetworkSummary
from visibility.settings import Settings
from visibility.store.database import Database

CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))  # `make chaos` sets more
OFTEN, SOMETIMES = 0.3, 0.05
# those that a child meets in its own way; what happens on the line is the same for all, see test_faults.py
OF_A_CHILD = ("injected_instructions_followed", "llm_refusal", "llm_schema_violation", "llm_truncated", "quota_gone")
ALL_OF_THE_LLM = sorted(name for name, fault in FAULTS.items() if CHAT in fault.surfaces)
LLM_FAULTS = ALL_OF_THE_LLM if CHAOS_ROUNDS > 1 else OF_A_CHILD
MIXED = {name: SOMETIMES for name in FAULTS if name != "quota_gone"}  # that one ends all asking and reading at once
HERE = (("US", None, None),)
ORGS = MEMBERS[:3]
ANSWERS = 9
UNEXPLAINED = "SELECT count(*) FROM question_runs WHERE status = 'failed' AND (error_code = '') IS NOT FALSE"
EVALUATED = text(EVALUATIONS)


def seed_orgs(database: Database, sandbox: RunningSandbox) -> League:
    """Three members and 9 answers."""
    return seed_league(database, sandbox, members=ORGS, questions=QUESTIONS[:3], locations=HERE)


@pytest.fixture
def league(database: Database, sandbox: RunningSandbox) -> League:
    return seed_orgs(database, sandbox)


async def ask(settings: Settings, league: League) -> NetworkSummary:
    async with asyncio.timeout(PATIENCE), resources.opened(settings):
        return await network_questions(league.network_id, run_date=DAY)


async def evaluate(settings: Settings, league: League) -> NetworkOrgSummary:
    """Evaluate the first member alone; what is failed comes back like what is completed."""
    async with asyncio.timeout(PATIENCE), resources.opened(settings):
        try:
            return await network_org_missing(league.members[MEMBERS[0]], since=DAY)
        except BatchFailed as error:
            return error.summary


@pytest.mark.parametrize("seed", range(3, 3 + CHAOS_ROUNDS))
@pytest.mark.parametrize("fault", LLM_FAULTS)
async def test_a_child_with_a_frequent_fault_of_the_llm_ends_and_a_quiet_rerun_completes_it(
    prefect: str, database: Database, impatient: Settings, sandbox: RunningSandbox, fault: str, seed: int
) -> None:
    league = seed_league(database, sandbox, members=MEMBERS[:1], models=("chatgpt", "gemini"), locations=HERE)
    await ask_only(impatient, league)
    execute(database, "UPDATE evaluation_batches SET status = 'completed'")
    sandbox.set_faults({fault: OFTEN}, seed=seed)
    first = await evaluate(impatient, league)
    assert first.evaluated == first.charges and (first.status == "completed" or first.reason)
    if fault != "quota_gone":  # the refused account is one error for all answers
        assert first.evaluated + sum(first.failed.values()) == first.answered == league.answers
    assert sandbox.accounting()["totals"]["faults_struck"][fault]
    sandbox.set_faults()
    again = await evaluate(impatient, league)
    assert (again.status, again.evaluated, again.charges) == ("completed", league.answers, again.evaluated_now)
    assert end_state(database) == undisturbed(league.answers, shared=True)


@pytest.mark.parametrize("seed", range(3, 3 + CHAOS_ROUNDS))
async def test_a_network_with_all_faults_at_5_percent_ends_and_a_quiet_rerun_completes_it(
    prefect: str, database: Database, impatient: Settings, sandbox: RunningSandbox, league: League, seed: int
) -> None:
    sandbox.set_faults(MIXED, seed=seed)
    first = await end_of(ask(impatient, league))
    assert first.status == "completed" or first.reason
    assert first.answered + sum(first.failed.values()) == first.expected == ANSWERS
    assert value(database, UNEXPLAINED) == 0
    assert all(child.state == "completed" or child.reason for child in first.children)
    assert first.evaluations == first.charges
    sandbox.set_faults()
    again = await end_of(ask(impatient, league))
    permanent = again.failed.get("bad_input", 0) + again.failed.get("unsupported_country", 0)
    assert again.answered + permanent == again.expected
    assert again.evaluations == again.charges == again.answered * len(ORGS)
    assert sandbox.accounting()["bought_twice"] == []
    exact = {name: end_state(database)[name] for name in ("brands", "active holds", "open jobs", "leases", "books")}
    assert exact.items() <= undisturbed(again.answered, len(ORGS), shared=True).items()


async def end_of(asking: Any) -> NetworkSummary:
    """Return the summary of a network's run, whether it completes or fails."""
    try:
        return await asking
    except BatchFailed as error:
        return error.summary


async def test_one_member_that_breaks_leaves_the_others_alone_and_is_one_alert(
    database: Database, settings: Settings, slack: RunningSandbox, league: League
) -> None:
    broken = MEMBERS[1]
    break_statement(database, "org_evals", "INSERT", f"NEW.org_id = '{league.members[broken]}'")
    summary = await end_of(ask(settings, league))
    assert summary.status == "failed" and "1 of 3 members could not be evaluated" in (summary.reason or "")
    assert {child.org_name: child.state for child in summary.children if child.failed} == {broken: "failed"}
    assert (summary.evaluations, summary.charges) == (18, 18)
    (message,) = alerts(slack)
    assert [str(org_id) in message for org_id in league.members.values()] == [name == broken for name in ORGS]
    repair_statement(database)
    assert (await ask(settings, league)).status == "completed"
    assert end_state(database) == undisturbed(ANSWERS, len(ORGS), shared=True)
    assert len(alerts(slack)) == 1


async def test_an_llm_that_refuses_the_account_keeps_the_answers_and_is_one_alert(
    database: Database, settings: Settings, slack: RunningSandbox, league: League
) -> None:
    slack.set_faults({}, script=[{"on": "chat", "nth": 1, "times": 9999, "fault": "quota_gone"}])
    summary = await end_of(ask(settings, league))
    assert (summary.status, summary.answered, summary.charges) == ("failed", ANSWERS, 0)
    assert [child.failed for child in summary.children] == [True] * len(ORGS)
    assert len(alerts(slack)) == 1
    slack.set_faults()
    assert (await ask(settings, league)).status == "completed"
    assert end_state(database) == undisturbed(ANSWERS, len(ORGS), shared=True)
    assert slack.accounting()["totals"]["records_sold"] == ANSWERS


def runs_of(database: Database, batch_id: UUID) -> str:
    """Return the batch's question runs as a list of SQL."""
    found = rows(database, "SELECT question_run_id FROM question_runs WHERE batch_id = :batch", batch=batch_id)
    return f"({', '.join(repr(str(run_id)) for (run_id,) in found)})"


@pytest.fixture
def slow() -> Iterator[RunningSandbox]:
    """Simulated vendors whose LLM takes its time."""
    with serve_in_thread(time_scale=75, llm_seconds=(15, 150)) as sandbox:
        yield sandbox


async def test_a_batch_that_breaks_does_not_stop_reading_and_charging_another(
    prefect: str, database: Database, settings: Settings, slow: RunningSandbox
) -> None:
    league = seed_league(database, slow, members=MEMBERS[:1], models=("chatgpt",), locations=HERE)
    settings = settings.for_sandbox(slow.url, time_scale=300)
    broken, _ = [await ask_only(settings, league, DAY + timedelta(days)) for days in (0, 1)]
    # broken as soon as its first answer is read, while those of the other day are still with the LLM
    break_statement(database, "brand_readings", "INSERT", f"NEW.question_run_id IN {runs_of(database, broken)}")
    first = await evaluate(settings, league)
    assert (first.evaluated, first.charges) == (4, 4)
    repair_statement(database)
    assert (await evaluate(settings, league)).charges == 4


async def test_children_of_a_cancelled_parent_charge_what_they_finished_and_one_alert_is_sent(
    database: Database, settings: Settings, slack: RunningSandbox, slow: RunningSandbox
) -> None:
    league = seed_orgs(database, slow)
    settings = settings.for_sandbox(slow.url, time_scale=300).model_copy(update={"evaluation_chunk": 2})
    asking = asyncio.create_task(ask(settings, league))
    finished = 0
    while finished < 6:
        await asyncio.sleep(0.01)
        finished = await database.run(lambda session: session.scalar(EVALUATED) or 0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    evaluations = value(database, EVALUATIONS)
    assert finished <= value(database, CHARGES) <= evaluations < ANSWERS * len(ORGS)
    assert value(database, LEASES) == 0
    assert len(alerts(slack)) == 1
    assert (await ask(settings, league)).status == "completed"
    assert end_state(database) == undisturbed(ANSWERS, len(ORGS), shared=True)
    assert slow.accounting()["bought_twice"] == [] and len(alerts(slack)) == 1
