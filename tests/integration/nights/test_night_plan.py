"""What a night would do and who would pay, read from the database in a few statements."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support.billing import answer, evaluate, open_batch, open_network_batch
from tests.support.seed import seed_charges, seed_network, seed_org
from visibility.billing.holds import hold
from visibility.errors import InvalidInput
from visibility.night import NightEnds, NightSummary, summarise_night
from visibility.night_plan import NightOf, NightPlan, plan_night, scheduled
from visibility.settings import BrightDataSettings, Settings
from visibility.store.database import Database
from visibility.store.nights import count_ended
from visibility.versions import intended_version

MONDAY = date(2026, 11, 23)
SETTINGS = Settings(database_url="postgresql://nowhere/x", shard_orgs=2)
VERSION = intended_version(SETTINGS.llm)


@pytest.fixture
def session(database: Database):
    with database.transaction() as session:
        yield session


def plan(session: Session, what: NightOf = "orgs", settings: Settings = SETTINGS) -> NightPlan:
    return plan_night(session, what, MONDAY, settings, cores=2)


def org(session: Session, name: str, **changes: Any) -> UUID:
    """An org with 2 questions x 2 models x 1 location = 4 answers on Mondays."""
    return seed_org(session, **{"name": name, "questions": 2, "models": ["chatgpt", "gemini"],
                                "locations": (("US", None, None),), "days": [0], **changes})  # fmt: skip


def finish(session: Session, batch_id: UUID, *readers: UUID) -> None:
    for org_id in readers:
        evaluate(session, batch_id, org_id, version=VERSION)
        seed_charges(session, batch_id, org_id)
    session.execute(text("UPDATE evaluation_batches SET status = 'completed' WHERE batch_id = :b"), {"b": batch_id})


def test_only_what_is_left_is_planned_and_charged_to_who_pays_by_the_rules(session: Session):
    org(session, "A new", balance=Decimal("0.10"))
    org(session, "B free", is_free_tier=True, partner_balance=Decimal(10), spend_limit=Decimal("0.19"))
    resumed, done = org(session, "C resumed"), org(session, "D done")
    half = open_batch(session, resumed, run_date=MONDAY)
    hold(session, half, expires_in=timedelta(hours=1), expected_evaluation_cost_usd=Decimal(0),
         expected_answer_cost_usd=Decimal(0))  # fmt: skip
    answer(session, half, limit=3)
    seed_charges(session, half, resumed, limit=1)
    batch_id = open_batch(session, done, run_date=MONDAY)
    answer(session, batch_id)
    finish(session, batch_id, done)
    made = plan(session)
    assert [(owner.name, owner.state, owner.to_ask) for owner in made.owners] == [
        ("A new", "new", 4), ("B free", "new", 4), ("C resumed", "to be resumed", 1), ("D done", "done", 0),
    ]  # fmt: skip
    assert (made.runs, made.to_ask, made.to_evaluate) == (2, 9, 12)
    assert made.vendor_cost_usd == 9 * Decimal("0.0015")
    payers = {payer.name: (payer.payer_type, payer.answers, payer.amount_usd, payer.held_usd, payer.short_usd)
              for payer in made.payers}  # fmt: skip
    assert payers == {
        "A new": ("ORG", 4, Decimal("0.20"), 0, Decimal("0.10")),
        "Beacon Agency": ("PARTNER", 4, Decimal("0.20"), 0, 0),
        "C resumed": ("ORG", 3, Decimal("0.15"), 0, 0),  # one of four is charged; its own hold is made anew
    }
    assert made.payers[0].name == "A new" and made.charges_usd == Decimal("0.55")
    assert [(one.name, one.left_usd, one.needed_usd) for one in made.over_limit] == [
        ("B free", Decimal("0.19"), Decimal("0.20"))
    ]


def test_a_networks_answers_are_charged_to_its_partner_once_per_member(session: Session):
    network_id = seed_network(session, questions=3, days=[0], partner_balance=Decimal(1))
    members = [org(session, name, network_id=network_id, days=(), spend_limit=Decimal("0.2")) for name in ("A", "B")]
    batch_id = open_network_batch(session, network_id, run_date=MONDAY)
    answer(session, batch_id, limit=2)
    seed_charges(session, batch_id, members[0], limit=2)
    made = plan(session, "networks")
    assert [(owner.state, owner.to_ask) for owner in made.owners] == [("to be resumed", 1)]
    assert (made.runs, made.to_ask, made.to_evaluate, made.vendor_jobs) == (1, 1, 6, 1)
    (payer,) = made.payers
    assert (payer.payer_type, payer.orgs, payer.answers) == ("PARTNER", 2, 4)  # 1 of A, 3 of B
    assert [one.name for one in made.over_limit] == []
    assert plan(session).owners == [] and plan(session).bounds == []


def test_questions_of_a_shard_share_vendor_jobs_and_other_models_have_none(session: Session):
    for number in range(5):
        org(session, f"Org {number}", models=["chatgpt", "gemini", "claude-x"])
    two = Settings(shard_orgs=2, brightdata=BrightDataSettings(max_inputs_per_job=3))
    made = plan(session, settings=two)
    # shards of 2, 2 and 1 orgs with 2 questions each: 4, 4 and 2 inputs per engine, 3 a job
    assert (made.to_ask, made.runs, made.vendor_jobs) == (30, 3, 2 * (2 + 2 + 1))
    assert made.vendor_cost_usd == 20 * Decimal("0.0015")
    one_at_a_time = two.model_copy(update={"orgs_in_flight": 1})
    assert plan(session, settings=one_at_a_time).vendor_jobs == 2 * 5


def test_durations_are_those_of_recent_jobs_and_calls_where_there_are_any(session: Session):
    assert (plan(session).measured_jobs, plan(session).measured_calls) == (0, 0)
    batch_id = open_batch(session, org(session, "A"), run_date=MONDAY - timedelta(days=7))
    session.execute(
        text(
            """
            WITH job AS (
                INSERT INTO provider_jobs (provider, dataset_id, snapshot_id, status, submitter, input_count,
                                           submitted_at, deadline_at, fetched_at)
                VALUES ('brightdata:chatgpt', 'd', 's', 'fetched', 'x', 4, now() - interval '500 s', now(),
                        now() - interval '100 s') RETURNING job_id)
            UPDATE question_runs SET provider_job_id = job.job_id FROM job WHERE batch_id = :b
            """
        ),
        {"b": batch_id},
    )
    session.execute(
        text(
            """
            INSERT INTO llm_calls
                (purpose, model, batch_id, input_tokens, output_tokens, cost_usd, price_table, latency_ms)
            SELECT 'evaluation', 'm', :b, 1, 1, 0, 't', latency FROM unnest(ARRAY[3000, 90000000]) latency
            """
        ),
        {"b": batch_id},
    )
    made = plan(session)
    assert (made.measured_jobs, made.measured_calls) == (1, 1)  # nobody waits a day for a call that he made himself
    assert made.bounds[0].name == "submissions per minute" and made.seconds == pytest.approx(406)
    assert "the last job takes 400 s" in made.bounds[0].because


def test_the_plan_takes_as_many_statements_for_many_orgs_as_for_one(database: Database):
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with database.transaction() as session:
        for number in range(3):
            org(session, f"Org {number}", is_free_tier=bool(number % 2))
        session.flush()
        statements.clear()
        assert len(plan(session).payers) == 3
        assert len(statements) == 6


def night(session: Session, ends: NightEnds, what: NightOf = "orgs") -> NightSummary:
    """The night as it ends now, which found everything new."""
    before = scheduled(session, what, MONDAY - timedelta(days=7), SETTINGS)
    return summarise_night(session, what, MONDAY, before, ends, SETTINGS, flow_run_id=None, duration_seconds=1)


def test_who_has_no_completed_batch_is_not_done_with_the_reason_that_says_most(session: Session):
    done, broke, crashed, refused = (org(session, name) for name in ("A", "B", "C", "D"))
    batch_id = open_batch(session, done, run_date=MONDAY)
    answer(session, batch_id, limit=3)  # one answer is missing: no failure
    finish(session, batch_id, done)
    session.execute(
        text("UPDATE evaluation_batches SET status = 'failed', error = 'Too poor.', completed_at = now() "
             "WHERE batch_id = :b"), {"b": open_batch(session, broke, run_date=MONDAY)},
    )  # fmt: skip
    open_batch(session, crashed, run_date=MONDAY)
    shard = dict.fromkeys((done, broke, crashed), "The process died.")
    ends = NightEnds(spawn="deployment", started=2, reasons={refused: "Not started."}, shard_reasons=shard)
    summary = night(session, ends)
    assert [(one.name, one.reason) for one in summary.failed] == [
        ("B", "Too poor."), ("C", "The process died."), ("D", "Not started."),
    ]  # fmt: skip
    assert (summary.scheduled, summary.completed, summary.done_before) == (4, 1, 0)
    assert (summary.expected, summary.answered, summary.charged_usd) == (12, 3, Decimal("0.03"))
    assert summary.status == "failed" and str(summary.reason).startswith("3 of 4 orgs could not be done (B: Too poor.")
    before = scheduled(session, "orgs", MONDAY - timedelta(days=7), SETTINGS)
    session.execute(text("DELETE FROM schedules WHERE org_id = :b"), {"b": broke})  # nor done, nor looked for
    less = summarise_night(session, "orgs", MONDAY, before, ends, SETTINGS, flow_run_id=None, duration_seconds=1)
    assert ([one.name for one in less.failed], less.completed, less.scheduled) == (["C", "D"], 1, 4)
    began = datetime.now(UTC) - timedelta(hours=1)
    assert count_ended(session, "org", MONDAY, [done, broke, crashed, refused], began) == 1


def test_a_network_whose_flow_failed_over_its_members_is_not_done(session: Session):
    network_id = seed_network(session, days=[0])
    member = org(session, "A", network_id=network_id, days=())
    batch_id = open_network_batch(session, network_id, run_date=MONDAY)
    answer(session, batch_id)
    finish(session, batch_id, member)
    assert night(session, NightEnds(spawn="subflow"), "networks").status == "completed"
    failed = night(session, NightEnds(spawn="subflow", reasons={network_id: "1 of 1 members failed."}), "networks")
    assert failed.status == "failed" and failed.failed[0].reason == "1 of 1 members failed."


def test_a_simulated_night_is_refused_where_real_evaluations_are(session: Session):
    open_batch(session, org(session, "A"), run_date=MONDAY)
    with pytest.raises(InvalidInput, match="would charge its real balances"):
        plan(session, settings=SETTINGS.model_copy(update={"sandbox": True}))


def test_a_night_without_anybody_is_a_clean_finish(session: Session):
    summary = night(session, NightEnds(spawn="subflow"))
    assert (summary.status, summary.scheduled, summary.coverage) == ("completed", 0, None)
