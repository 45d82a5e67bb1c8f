"""What counts as left by a dead flow, what is left alone, and that money left open is charged once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support import billing
from tests.support.end_state import execute, value
from tests.support.seed import seed_network, seed_org
from visibility.billing.settlement import Settlement
from visibility.errors import InsufficientCredits, InvalidInput
from visibility.identity import new_owner
from visibility.reconcile import LeftWork, look
from visibility.store.database import Database
from visibility.store.reconcile import close_deleted, release_holds, settle_idle

ELSEWHERE = "another-machine|boot|namespace|17|4711|abc"
HISTORY_BATCHES, HISTORY_RUNS = 300, 60
Lease = tuple[str | None, float | None]  # holder, seconds from now until it lapses


def dead_owner() -> str:
    """Return a holder of this machine whose process has ended."""
    machine, boot, namespace, _, _, _ = new_owner().split("|")
    return f"{machine}|{boot}|{namespace}|{2**22 + 5}|1|abc"


@pytest.fixture
def org_id(database: Database) -> UUID:
    with database.transaction() as session:
        return seed_org(session, questions=3, models=("chatgpt",), locations=(("US", None, None),))


def left(database: Database, *, days: float = 7, sandbox: bool = False) -> LeftWork:
    with database.transaction() as session:
        return look(session, datetime.now(UTC) - timedelta(days=days), sandbox=sandbox)


def open_batch(database: Database, org_id: UUID, status: str, lease: Lease) -> UUID:
    with database.transaction() as session:
        batch_id = billing.open_batch(session, org_id)
        work_on(session, batch_id, status, lease)
    return batch_id


def work_on(session: Session, batch_id: UUID, status: str, lease: Lease) -> None:
    session.execute(
        text(
            """
            UPDATE evaluation_batches SET status = :status, lease_owner = :owner,
                lease_expires_at = clock_timestamp() + make_interval(secs => :seconds)
            WHERE batch_id = :b
            """
        ),
        {"b": batch_id, "status": status, "owner": lease[0], "seconds": lease[1]},
    )


@pytest.mark.parametrize(
    ("status", "lease", "is_left"),
    [
        ("running", lambda: (ELSEWHERE, -1), True),
        ("pending", lambda: (ELSEWHERE, -1), True),
        ("pending", lambda: (None, None), True),
        ("running", lambda: (dead_owner(), 60), True),
        ("completed", lambda: (ELSEWHERE, -1), True),  # a network's, whose members were being evaluated
        ("running", lambda: (ELSEWHERE, 60), False),
        ("running", lambda: (new_owner(), 60), False),
        ("completed", lambda: (None, None), False),
        ("failed", lambda: (None, None), False),  # stays failed until somebody starts it
    ],
)
def test_a_batch_is_left_when_it_has_not_ended_and_nobody_lives_to_end_it(
    database: Database, org_id: UUID, status: str, lease: Callable[[], Lease], is_left: bool
) -> None:
    batch_id = open_batch(database, org_id, status, lease())
    assert [batch.batch_id for batch in left(database).batches] == [batch_id] * is_left
    assert left(database).nothing is not is_left


def test_other_days_and_other_vendors_are_left_alone(database: Database, org_id: UUID) -> None:
    open_batch(database, org_id, "running", (ELSEWHERE, -1))
    execute(database, "UPDATE evaluation_batches SET sandbox = true")
    assert left(database).nothing and not left(database, sandbox=True).nothing
    execute(database, "UPDATE evaluation_batches SET created_at = now() - interval '8 days'")
    assert not left(database, sandbox=True).nothing  # old, but somebody has just worked on it
    execute(database, "UPDATE evaluation_batches SET lease_owner = NULL")
    assert left(database, sandbox=True).nothing
    execute(database, "UPDATE evaluation_batches SET sandbox = false")
    with pytest.raises(InvalidInput, match="real vendors"):
        left(database, sandbox=True)


def test_the_batch_of_a_deleted_org_is_closed_and_not_gone_on_with(database: Database, org_id: UUID) -> None:
    batch_id = open_batch(database, org_id, "running", (ELSEWHERE, -1))
    execute(database, "UPDATE orgs SET deleted_at = now()")
    found = left(database)
    assert found.batches == () and [batch.batch_id for batch in found.deleted] == [batch_id]
    assert value(database, "SELECT status FROM evaluation_batches") == "running"  # looking changes nothing
    with database.transaction() as session:
        assert len(close_deleted(session, found.window)) == 1
    assert value(database, "SELECT status FROM evaluation_batches") == "failed"
    assert left(database).nothing


@pytest.mark.parametrize(("status", "adopted"), [("failed", 1), ("completed", 1), ("running", 0)])
def test_open_jobs_are_adopted_of_batches_that_ended_the_others_see_theirs_through(
    database: Database, org_id: UUID, status: str, adopted: int
) -> None:
    open_batch(database, org_id, status, (ELSEWHERE, -1) if status == "running" else (None, None))
    job = uuid4()
    execute(
        database,
        """
        INSERT INTO provider_jobs
            (job_id, provider, dataset_id, snapshot_id, status, submitter, input_count, deadline_at)
        VALUES (:job, 'brightdata:chatgpt', 'gd', 's1', 'submitted', 'gone', 3, now())
        """,
        job=job,
    )
    execute(database, "UPDATE question_runs SET status = 'asked', provider_job_id = :job", job=job)
    found = left(database).jobs
    assert [(one.job_id, one.runs, one.names) for one in found] == [(job, 3, ("Northwind Heating",))] * adopted
    execute(database, "UPDATE evaluation_batches SET lease_owner = :owner, lease_expires_at = now() + interval '1 min'",
            owner=ELSEWHERE)  # fmt: skip
    assert left(database).nothing


def evaluated(session: Session, batch_id: UUID, org_id: UUID, hold: Any = True) -> None:
    billing.answer(session, batch_id)
    if hold:
        billing.hold_default(session, batch_id, org_id=org_id)
    billing.evaluate(session, batch_id, org_id, limit=2)


def settle_all(database: Database) -> list[Settlement | None]:
    found = left(database)
    settled = []
    for owed in found.owed:
        with database.transaction() as session:
            settled.append(settle_idle(session, owed, found.window.dead))
    return settled


def test_what_is_evaluated_and_uncharged_is_charged_once(database: Database, org_id: UUID) -> None:
    batch_id = open_batch(database, org_id, "failed", (None, None))
    with database.transaction() as session:
        evaluated(session, batch_id, org_id)
    stale = left(database).owed
    assert [(owed.batch_id, owed.name, owed.runs) for owed in stale] == [(batch_id, "Northwind Heating", 2)]
    assert [settled and settled.entries for settled in settle_all(database)] == [2]
    with database.transaction() as session:
        assert billing.money_of(session, org_id) == billing.Money(
            Decimal("99.9"), Decimal(100), Decimal("-0.1"), Decimal(0)
        )
        again = settle_idle(session, stale[0], ())  # another one found it as well
        assert again is not None and again.entries == 0
    assert left(database).nothing


def test_a_flow_that_has_come_meanwhile_settles_itself(database: Database, org_id: UUID) -> None:
    batch_id = open_batch(database, org_id, "failed", (None, None))
    with database.transaction() as session:
        evaluated(session, batch_id, org_id)
    (owed,) = left(database).owed
    with database.transaction() as session:
        work_on(session, batch_id, "running", (new_owner(), 60))
        assert settle_idle(session, owed, ()) is None
        assert billing.holds_of(session, batch_id) == [("active", Decimal("0.15"))]
    assert left(database).nothing


def test_what_the_balance_does_not_cover_is_found_until_it_does_and_what_was_never_quoted_is_not(
    database: Database, org_id: UUID
) -> None:
    batch_id = open_batch(database, org_id, "completed", (None, None))
    with database.transaction() as session:
        evaluated(session, batch_id, org_id, hold=False)
    assert left(database).nothing
    with database.transaction() as session:
        billing.hold_default(session, batch_id)
        session.execute(text("UPDATE credit_holds SET expires_at = now() - interval '1 hour'"))
        session.execute(text("UPDATE credit_balances SET current_balance = 0.05"))
    found = left(database)
    assert [(holds.name, holds.holds) for holds in found.holds] == [("Northwind Heating", 1)] and len(found.owed) == 1
    with database.transaction() as session:
        assert release_holds(session) == list(found.holds)
    for _ in range(2):
        with pytest.raises(InsufficientCredits):
            settle_all(database)
    execute(database, "UPDATE credit_balances SET current_balance = 100")
    assert [settled and settled.entries for settled in settle_all(database)] == [2]
    assert left(database).nothing


def test_what_was_stored_after_the_settlement_is_charged_too(database: Database, org_id: UUID) -> None:
    batch_id = open_batch(database, org_id, "failed", (None, None))
    with database.transaction() as session:
        evaluated(session, batch_id, org_id)
        session.execute(text("UPDATE evaluation_batches SET completed_at = now()"))
    settle_all(database)
    with database.transaction() as session:
        billing.evaluate(session, batch_id, org_id)
    assert [settled and settled.entries for settled in settle_all(database)] == [1]
    assert left(database).nothing


def test_a_member_that_has_left_is_charged_and_one_that_is_being_read_for_is_not(database: Database) -> None:
    with database.transaction() as session:
        network_id = seed_network(session)
        gone, read, busy = (
            seed_org(session, name=name, network_id=network_id, balance=None) for name in ("Gone", "Read", "Busy")
        )
        batch_id = billing.open_network_batch(session, network_id)
        work_on(session, batch_id, "completed", (None, None))
        for member in (gone, read, busy):
            evaluated(session, batch_id, member)
        billing.leave_network(session, gone)
        billing.read_for(session, read, network_id, seconds=-1)
        billing.read_for(session, busy, network_id)
    found = left(database)
    assert [(reading.name, reading.network_id) for reading in found.readings] == [("Read", network_id)]
    assert [owed.name for owed in found.owed] == ["Gone", "Read"]
    assert [settled and settled.entries for settled in settle_all(database)] == [2, 2]
    assert left(database).owed == ()


def test_a_long_history_is_not_read_to_find_what_is_left(database: Database, org_id: UUID) -> None:
    with database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign key is looked up
        for statement in HISTORY.split(";"):
            session.execute(text(statement), {"org": org_id, "batches": HISTORY_BATCHES, "runs": HISTORY_RUNS})
        session.execute(text("ANALYZE"))
    batch_id = open_batch(database, org_id, "failed", (None, None))
    with database.transaction() as session:
        evaluated(session, batch_id, org_id)
    sent: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *of: sent.append((of[2], of[3])))
    assert len(left(database).owed) == 1
    assert len(sent) <= 12
    for statement, parameters in [one for one in sent if one[0].lstrip().startswith("SELECT")]:
        with database.transaction() as session:
            explained = session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plan = "\n".join(row[0] for row in explained)
        for table in ("evaluation_batches", "question_runs", "org_evals", "partner_usage_ledger"):
            assert f"Seq Scan on {table}" not in plan, plan


HISTORY = """
    INSERT INTO evaluation_batches (scope, org_id, run_date, status, created_at)
    SELECT 'org', :org, date '2024-12-31' - day, 'completed', timestamptz '2024-12-31' - make_interval(days => day)
    FROM generate_series(1, :batches) day;
    INSERT INTO question_runs (batch_id, question_id, model, country_code, replicate, status, response_text)
    SELECT batch_id, gen_random_uuid(), 'chatgpt', 'US', number, 'answered', 'Northwind.'
    FROM evaluation_batches, generate_series(1, :runs) number;
    INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason)
    SELECT question_run_id, :org, 'v1', true, 'verified' FROM question_runs;
    INSERT INTO partner_usage_ledger
        (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id, batch_id)
    SELECT :org, :org, 'ORG', :org, -0.01, 'question_run', question_run_id, batch_id FROM question_runs
"""
