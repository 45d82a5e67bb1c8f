"""What an org lacks of its network's answers: found with one query, from indexes, however long the history is."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support import billing
from tests.support.seed import seed_charges, seed_network, seed_org
from visibility.domain import MissingBatch
from visibility.store.database import Database
from visibility.store.networks import count_missing, find_missing

DAY = date(2026, 11, 23)
HISTORY_BATCHES, HISTORY_RUNS = 600, 60


@pytest.fixture
def network_id(database: Database) -> UUID:
    with database.transaction() as session:
        return seed_network(session)


@pytest.fixture
def org_id(database: Database, network_id: UUID) -> UUID:
    with database.transaction() as session:
        return seed_org(session, network_id=network_id, balance=None)


def missing(
    session: Session, org_id: UUID, network_id: UUID, version: str = "v1", *, sandbox: bool = False
) -> list[MissingBatch]:
    return find_missing(session, org_id, network_id, DAY, version, sandbox=sandbox)


def answered_batch(session: Session, network_id: UUID, run_date: date = DAY) -> UUID:
    batch_id = billing.open_network_batch(session, network_id, run_date=run_date)
    billing.answer(session, batch_id)
    return batch_id


def test_answers_without_an_evaluation_are_missing_and_evaluated_ones_until_charged(
    database: Database, network_id: UUID, org_id: UUID
) -> None:
    with database.transaction() as session:
        batch_id = answered_batch(session, network_id)
        assert missing(session, org_id, network_id) == [
            MissingBatch(batch_id, DAY, tuple(billing.runs_of(session, batch_id)), 0)
        ]
        billing.evaluate(session, batch_id, org_id, limit=1)
        (found,) = missing(session, org_id, network_id)
        assert (len(found.run_ids), found.uncharged) == (2, 1)
        billing.evaluate(session, batch_id, org_id)
        assert missing(session, org_id, network_id) == [MissingBatch(batch_id, DAY, (), 3)]
        seed_charges(session, batch_id, org_id)
        assert missing(session, org_id, network_id) == []
        assert len(missing(session, org_id, network_id, "v2")[0].run_ids) == 3


def test_only_answers_of_this_network_since_the_day_are_missing(
    database: Database, network_id: UUID, org_id: UUID
) -> None:
    with database.transaction() as session:
        answered_batch(session, network_id, DAY - timedelta(days=1))
        answered_batch(session, seed_network(session, name="Another"))
        billing.answer(session, billing.open_batch(session, org_id, run_date=DAY))  # the org's own questions
        later, unanswered = answered_batch(session, network_id, DAY + timedelta(days=1)), DAY + timedelta(days=2)
        billing.fail(session, billing.open_network_batch(session, network_id, run_date=unanswered), "blocked")
        first = answered_batch(session, network_id)
        session.execute(text("UPDATE geo_questions SET deleted_at = now()"))  # bought, so read all the same
        assert [batch.batch_id for batch in missing(session, org_id, network_id)] == [first, later]
        assert missing(session, org_id, network_id, sandbox=True) == []


def test_missing_answers_are_counted_per_member_since_it_joined(
    database: Database, network_id: UUID, org_id: UUID
) -> None:
    with database.transaction() as session:
        done, joined = (seed_org(session, name=name, network_id=network_id, balance=None) for name in ("Done", "New"))
        seed_org(session, name="Gone", network_id=network_id, balance=None)
        session.execute(text("UPDATE orgs SET deleted_at = now() WHERE name = 'Gone'"))
        session.execute(
            text("UPDATE orgs SET network_joined_at = '2026-11-24 23:30+00' WHERE org_id = :o"), {"o": joined}
        )
        for day in range(2):
            batch_id = answered_batch(session, network_id, DAY + timedelta(days=day))
            billing.evaluate(session, batch_id, done)
            seed_charges(session, batch_id, done)
        billing.evaluate(session, batch_id, org_id, limit=2)
        counted = count_missing(session, network_id, "v1", sandbox=False, since=DAY)
        assert counted == {done: 0, joined: 3, org_id: 6}
        assert count_missing(session, network_id, "v1", sandbox=True, since=DAY) == dict.fromkeys(counted, 0)


def test_a_long_history_is_not_read_to_find_what_is_missing(database: Database, network_id: UUID, org_id: UUID) -> None:
    sent: list[tuple[str, Any]] = []
    with database.transaction() as session:
        _seed_history(session)
        batch_id = answered_batch(session, network_id)
    event.listen(database.engine, "before_cursor_execute", lambda *of: sent.append((of[2], of[3])))
    with database.transaction() as session:
        assert [batch.batch_id for batch in missing(session, org_id, network_id)] == [batch_id]
        assert count_missing(session, network_id, "v1", sandbox=False, since=DAY) == {org_id: 3}
    assert len(sent) == 2
    for statement, parameters in list(sent):
        plan = _plan(database, statement, parameters)
        for table in ("question_runs", "org_evals", "partner_usage_ledger"):
            assert f"Seq Scan on {table}" not in plan, plan
        assert "uq_question_runs_manifest" in plan


def _plan(database: Database, statement: str, parameters: Any) -> str:
    with database.transaction() as session:
        rows = session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
        return "\n".join(row[0] for row in rows)


def _seed_history(session: Session) -> None:
    """Write what another network has behind it, evaluated for one org and charged: three tables of 36,000 rows each."""
    network_id = seed_network(session, name="Another")
    org_id = seed_org(session, name="Another", network_id=network_id, balance=None)
    known = {"network": network_id, "org": org_id, "batches": HISTORY_BATCHES, "runs": HISTORY_RUNS, "other": uuid4()}
    session.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign key is looked up
    for statement in HISTORY.split(";"):
        session.execute(text(statement), known)
    session.execute(text("ANALYZE"))


HISTORY = """
    INSERT INTO evaluation_batches (scope, network_id, run_date, status)
    SELECT 'network', :network, date '2027-12-31' - day, 'completed' FROM generate_series(1, :batches) day;
    INSERT INTO question_runs (batch_id, question_id, model, country_code, replicate, status, response_text)
    SELECT batch_id, :other, 'chatgpt', 'US', number, 'answered', 'Northwind.'
    FROM evaluation_batches, generate_series(1, :runs) number;
    INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason)
    SELECT question_run_id, :org, 'v1', true, 'verified' FROM question_runs;
    INSERT INTO partner_usage_ledger
        (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id, batch_id)
    SELECT :org, :other, 'PARTNER', :other, -0.01, 'question_run', question_run_id, batch_id FROM question_runs
"""
