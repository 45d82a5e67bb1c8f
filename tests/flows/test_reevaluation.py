"""Stored answers read again by another extractor: beside the old rows, free of charge, with a comparison."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from flows.network_reevaluation import network_reevaluation
from flows.org_evaluation import org_evaluation
from flows.org_reevaluation import org_reevaluation
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.answers import NAME, WEBSITES, seed_answers
from tests.support.billing import evaluate, hold_default, ledger, open_network_batch
from tests.support.seed import QUESTIONS, seed_network, seed_org
from visibility.billing.settlement import settle
from visibility.errors import BatchFailed, InvalidInput
from visibility.evaluation import evaluate_stored
from visibility.reevaluation import ReevaluationSummary
from visibility.settings import Settings
from visibility.store.database import Database

US = (("US", None, None),)
ANSWERS = 4
PRAISE = "**Trane** is known.\n\nNorthwind Heating is excellent and reliable."
ABSENT = "**Trane** and **Carrier** are the usual choices."


@pytest.fixture
def newer(settings: Settings) -> Settings:
    """The same settings with another model, which is another extractor version."""
    return settings.model_copy(update={"llm": settings.llm.model_copy(update={"evaluation_model": "gpt-6-sol"})})


@pytest.fixture
def org_id(prefect: str, database: Database) -> UUID:
    """An org with four simulated answers of today; an extractor v1 has found it in all, half of them are charged."""
    with database.transaction() as session:
        profile, batch_id, _ = seed_answers(session, [PRAISE, PRAISE, ABSENT, ABSENT])
        session.execute(text("UPDATE evaluation_batches SET sandbox = true, run_date = :d"), {"d": today()})
        hold_default(session, batch_id)
        evaluate(session, batch_id, profile.org_id, limit=2)
        settle(session, batch_id)
    with database.transaction() as session:
        evaluate(session, batch_id, profile.org_id)
    return profile.org_id


def today() -> date:
    return datetime.now(UTC).date()


async def replay(settings: Settings, org_id: UUID, **window: Any) -> ReevaluationSummary:
    async with resources.opened(settings):
        return await org_reevaluation(org_id, **window)


async def replay_network(settings: Settings, network_id: UUID) -> ReevaluationSummary:
    async with resources.opened(settings):
        return await network_reevaluation(network_id)


def rows(database: Database, statement: str, **parameters: Any) -> list[Any]:
    with database.transaction() as session:
        return [tuple(row) for row in session.execute(text(statement), parameters)]


def shown(database: Database) -> dict[str, int]:
    """How many evaluations of each version readers see."""
    return dict(rows(database, "SELECT extractor_version, count(*) FROM latest_org_evals GROUP BY 1"))


def money(database: Database) -> list[Any]:
    """Everything that a charge or a hold would change."""
    return rows(
        database,
        """
        SELECT (SELECT count(*) FROM partner_usage_ledger), (SELECT sum(current_balance) FROM credit_balances),
               (SELECT count(*) FROM credit_holds)
        """,
    )


async def test_another_model_reads_beside_the_old_rows_and_readers_see_its_findings(
    prefect: str, database: Database, settings: Settings, newer: Settings, sandbox: RunningSandbox
) -> None:
    sandbox.learn({"name": NAME, "websites": list(WEBSITES), "questions": list(QUESTIONS)})
    with database.transaction() as session:
        org_id = seed_org(session, name=NAME, questions=ANSWERS, models=("chatgpt",), locations=US)
    async with resources.opened(settings):
        await org_evaluation(org_id)
    (old_version,) = shown(database)
    before, sold = money(database), sandbox.accounting()["totals"]["records_sold"]
    old_rows = rows(database, "SELECT * FROM org_evals")
    summary = await replay(newer, org_id)
    assert (summary.status, summary.found, summary.reevaluated, summary.failed) == ("completed", ANSWERS, ANSWERS, {})
    assert summary.old_versions == {old_version: ANSWERS} and summary.new_version != old_version
    assert shown(database) == {summary.new_version: ANSWERS}
    stored = rows(database, "SELECT * FROM org_evals")
    assert len(stored) == 2 * ANSWERS and set(map(str, old_rows)) <= set(map(str, stored))
    assert money(database) == before and sandbox.accounting()["totals"]["records_sold"] == sold


@pytest.fixture
def batching(settings: Settings) -> Settings:
    """The same settings with LLM_BATCH."""
    llm = {"llm_batch": True, "llm_batch_linger_seconds": 0.02, "llm_batch_poll_seconds": 0.02}
    return settings.model_copy(update={"llm": settings.llm.model_copy(update=llm)})


async def test_a_re_evaluation_that_may_wait_goes_by_batch_at_half_the_price(
    database: Database, batching: Settings, org_id: UUID, sandbox: RunningSandbox
) -> None:
    async with resources.opened(batching, patient=True):
        summary = await org_reevaluation(org_id)
    assert (summary.reevaluated, summary.failed) == (ANSWERS, {})
    tables = rows(database, "SELECT DISTINCT price_table FROM llm_calls WHERE purpose <> 'names'")
    assert [table.endswith("-batch") for (table,) in tables] == [True]
    assert sandbox.accounting()["llm"]["batched_calls"] == ANSWERS


async def test_who_is_waited_for_does_not_go_by_batch(
    database: Database, batching: Settings, sandbox: RunningSandbox
) -> None:
    with database.transaction() as session:
        profile, batch_id, runs = seed_answers(session, [PRAISE])
    async with resources.opened(batching) as opened:
        counts = await evaluate_stored(database, opened.llm, profile, batch_id, runs, chunk=1, answers_per_call=1)
    assert (counts.evaluated, sandbox.accounting()["llm"]["batched_calls"]) == (1, 0)


async def test_a_replay_compares_and_charges_nobody_but_what_was_owed_before(
    database: Database, settings: Settings, org_id: UUID
) -> None:
    before = money(database)
    summary = await replay(settings, org_id)
    assert summary.sandbox and summary.owner_name == NAME
    calls = rows(database, "SELECT count(*), sum(input_tokens + output_tokens), sum(cost_usd) FROM llm_calls")
    assert calls == [(summary.llm_calls, summary.llm_tokens, summary.llm_cost_usd)]
    assert (summary.comparison.pairs, summary.comparison.lost, summary.comparison.gained) == (ANSWERS, 2, 0)
    assert [example.new_reason for example in summary.comparison.examples] == ["name_absent"] * 2
    assert summary.comparison.sentiments == {"unjudged->positive": 2}
    assert money(database) == before
    with database.transaction() as session:
        batch_id = session.execute(text("SELECT batch_id FROM evaluation_batches")).scalar_one()
        assert settle(session, batch_id).entries == 2
        assert settle(session, batch_id).entries == 0
        assert {entry[-1]["extractor_version"] for entry in ledger(session, batch_id)} == {"v1"}


async def test_a_second_replay_has_nothing_to_do_and_tells_the_same_differences(
    database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    rows(database, "UPDATE org_evals SET share_of_voice = 0.9 RETURNING 1")
    first = await replay(settings, org_id)
    assert first.comparison.share_of_voice.old == pytest.approx(0.9)
    assert first.comparison.share_of_voice.low is not None
    calls = sandbox.accounting()["llm"]["calls"]
    second = await replay(settings, org_id)
    assert second.comparison == first.comparison and second.old_versions == first.old_versions
    assert (second.status, second.found, second.llm_calls) == ("completed", 0, 0)
    assert second.note == f"all {ANSWERS} evaluations are at the current version"
    assert sandbox.accounting()["llm"]["calls"] == calls


async def test_failed_answers_keep_their_old_rows_and_are_read_by_the_next_replay(
    database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    before = shown(database)
    sandbox.set_faults({"llm_refusal": 1.0})
    with pytest.raises(BatchFailed, match=f"Only 0 of {ANSWERS} evaluations could be read again") as caught:
        await replay(settings, org_id)
    assert isinstance(caught.value.summary, ReevaluationSummary)
    assert caught.value.summary.failed == {"llm_refused": ANSWERS}
    assert shown(database) == before
    sandbox.set_faults()
    assert (await replay(settings, org_id)).reevaluated == ANSWERS
    assert len(shown(database)) == 1 and shown(database) != before


async def test_a_lost_account_is_counted_with_its_code(
    database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    sandbox.set_faults({"quota_gone": 1.0})
    with pytest.raises(BatchFailed, match=f"failed: {ANSWERS} llm_quota_gone"):
        await replay(settings, org_id)


async def test_two_replays_at_once_read_every_answer_once(
    database: Database, settings: Settings, sandbox: RunningSandbox, org_id: UUID
) -> None:
    first, second = await asyncio.gather(replay(settings, org_id), replay(settings, org_id))
    assert first.comparison == second.comparison
    assert sandbox.accounting()["llm"]["purposes"]["reading"] == ANSWERS


async def test_unknown_owners_and_impossible_windows_are_refused(
    prefect: str, database: Database, settings: Settings
) -> None:
    with pytest.raises(InvalidInput, match="no organisation"):
        await replay(settings, uuid4())
    with pytest.raises(InvalidInput, match="no network"):
        await replay_network(settings, uuid4())
    with pytest.raises(InvalidInput, match="before it begins"):
        await replay(settings, uuid4(), since=today(), until=today() - timedelta(days=1))


@pytest.fixture
def network(database: Database) -> tuple[UUID, UUID, UUID]:
    """A network, a member and one that has left, whose two answers an extractor v1 has read; a third has no reading."""
    with database.transaction() as session:
        network_id = seed_network(session, questions=3)
        orgs = [
            seed_org(session, name=name, questions=0, websites=(), network_id=network_id)
            for name in ("Ashford Heating", "Birch & Sons")
        ]
        batch_id = open_network_batch(session, network_id, run_date=today())
        session.execute(text("UPDATE evaluation_batches SET sandbox = true, status = 'completed'"))
        session.execute(
            text(
                """
                UPDATE question_runs SET status = 'answered', answered_at = now(),
                    response_text = '**Ashford Heating** is reliable.\n\n**Trane** is known.'
                """
            )
        )
        for org_id in orgs:
            evaluate(session, batch_id, org_id, limit=2)
        session.execute(text("UPDATE orgs SET network_id = NULL WHERE name LIKE 'Birch%'"))
    return network_id, orgs[0], orgs[1]


async def test_a_network_is_replayed_for_every_org_with_brands_read_once(
    prefect: str, database: Database, settings: Settings, network: tuple[UUID, UUID, UUID]
) -> None:
    network_id, member, left = network
    summary = await replay_network(settings, network_id)
    assert (summary.status, summary.orgs, summary.found, summary.reevaluated) == ("completed", 2, 4, 4)
    assert (summary.comparison.lost, summary.comparison.gained) == (2, 0)
    assert {(example.org_name, example.change) for example in summary.comparison.examples} == {("Birch & Sons", "lost")}
    calls = dict(rows(database, "SELECT purpose, count(*) FROM llm_calls GROUP BY purpose"))
    assert (calls["brands"], calls["mention"]) == (2, 2)
    assert summary.llm_calls == sum(calls.values())
    found = rows(
        database, "SELECT org_id, mentioned, extractor_version = 'v1' FROM latest_org_evals ORDER BY mentioned"
    )
    assert found == [(left, False, False)] * 2 + [(member, True, False)] * 2
    assert money(database)[0][0] == money(database)[0][2] == 0


async def test_an_org_that_fails_does_not_stop_the_others(
    prefect: str, database: Database, settings: Settings, network: tuple[UUID, UUID, UUID]
) -> None:
    network_id, member, left = network
    with database.transaction() as session:
        session.execute(
            text(
                f"""
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'broken for the test'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON org_evals FOR EACH ROW
                    WHEN (NEW.org_id = '{left}') EXECUTE FUNCTION refuse()
                """
            )
        )
    with pytest.raises(BatchFailed, match="Only 2 of 4") as caught:
        await replay_network(settings, network_id)
    assert isinstance(caught.value.summary, ReevaluationSummary)
    assert caught.value.summary.failed == {"unexpected": 2}
    found = rows(database, "SELECT org_id, extractor_version = 'v1' FROM latest_org_evals")
    assert sorted(found) == sorted([(left, True)] * 2 + [(member, False)] * 2)
    assert rows(database, "SELECT count(*) FROM reading_leases WHERE lease_owner IS NOT NULL") == [(0,)]
