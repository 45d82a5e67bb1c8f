"""Who is scheduled on a day, how much is asked for them, and which of their batches have work left."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support.billing import answer, evaluate, fail, open_batch, open_network_batch
from tests.support.seed import seed_charges, seed_network, seed_org
from visibility.store.database import Database
from visibility.store.schedules import (
    DayLoad,
    Scheduled,
    scheduled_networks,
    scheduled_orgs,
    weekly_load,
    weekly_plans,
)

MONDAY = date(2026, 11, 23)
US = (("US", None, None),)


@pytest.fixture
def session(database: Database):
    with database.transaction() as session:
        yield session


def orgs(session: Session, run_date: date = MONDAY, **options: Any) -> list[Scheduled]:
    return scheduled_orgs(session, run_date, **{"extractor_version": "v1", "max_attempts": 4, **options})


def networks(session: Session, run_date: date = MONDAY, **options: Any) -> list[Scheduled]:
    return scheduled_networks(session, run_date, **{"extractor_version": "v1", "max_attempts": 4, **options})


def small_org(session: Session, name: str = "Northwind Heating", **changes: Any) -> UUID:
    return seed_org(session, **{"name": name, "questions": 2, "models": ["chatgpt"], "days": [0], **changes})


def finish(session: Session, batch_id: UUID, *readers: UUID) -> None:
    """Answer, evaluate and charge everything and set the batch completed."""
    answer(session, batch_id)
    for org_id in readers:
        evaluate(session, batch_id, org_id)
        seed_charges(session, batch_id, org_id)
    session.execute(text("UPDATE evaluation_batches SET status = 'completed' WHERE batch_id = :b"), {"b": batch_id})


def states(found: list[Scheduled]) -> list[tuple[str, int]]:
    return [(one.state, one.to_ask) for one in found]


def test_the_weekday_of_the_date_decides_and_deleted_orgs_are_left_out(session: Session):
    small_org(session, "Both", days=[0, 6])
    small_org(session, "Sunday", days=[6])
    gone = small_org(session, "Gone", days=[0])
    session.execute(text("UPDATE orgs SET deleted_at = now() WHERE org_id = :o"), {"o": gone})
    assert [one.name for one in orgs(session)] == ["Both"]
    assert [one.name for one in orgs(session, MONDAY + timedelta(days=6))] == ["Both", "Sunday"]
    assert orgs(session, MONDAY + timedelta(days=1)) == []


def test_expected_answers_follow_the_defaults_of_orgs_and_networks(session: Session):
    small_org(session, "A two places", is_free_tier=True)
    small_org(session, "B nowhere", locations=[])
    small_org(session, "C no model", models=[])
    network_id = seed_network(session, models=[], locations=[], days=[0])
    seed_network(session, name="Without members", days=[0])
    for name in ("Zulu", "Alpha"):
        small_org(session, name, network_id=network_id, days=())
    assert [(one.expected, one.is_free_tier) for one in orgs(session)] == [(4, True), (2, False), (0, False)]
    assert [one.expected for one in orgs(session, replicates=3)] == [12, 6, 0]
    league, empty = networks(session)
    assert (league.expected, [member.name for member in league.members]) == (9, ["Alpha", "Zulu"])
    assert (empty.expected, empty.members, empty.state) == (0, (), "none")


def test_a_batch_is_done_only_when_nothing_is_to_be_asked_read_or_charged(session: Session):
    org_id = small_org(session)
    assert states(orgs(session)) == [("none", 4)]
    batch_id = open_batch(session, org_id, run_date=MONDAY)
    assert states(orgs(session)) == [("open", 4)]
    answer(session, batch_id, limit=3)
    fail(session, batch_id, "timeout")
    assert states(orgs(session)) == [("open", 1)]
    assert states(orgs(session, max_attempts=1)) == [("open", 0)]
    finish(session, batch_id, org_id)
    assert states(orgs(session, max_attempts=1)) == [("done", 0)]
    assert states(orgs(session)) == [("open", 1)]
    session.execute(text("DELETE FROM partner_usage_ledger WHERE entry_id = (SELECT min(entry_id::text)::uuid "
                         "FROM partner_usage_ledger)"))  # fmt: skip
    assert states(orgs(session, max_attempts=1)) == [("open", 0)]


def test_a_newer_extractor_or_a_question_added_since_opens_a_completed_batch(session: Session):
    org_id = small_org(session, locations=US)
    finish(session, open_batch(session, org_id, run_date=MONDAY), org_id)
    assert states(orgs(session)) == [("done", 0)]
    assert states(orgs(session, extractor_version="v2")) == [("open", 0)]
    session.execute(text("UPDATE geo_questions SET deleted_at = now() WHERE question_id IN "
                         "(SELECT question_id FROM geo_questions LIMIT 1)"))  # fmt: skip
    assert states(orgs(session)) == [("done", 0)]
    session.execute(text("INSERT INTO geo_questions (org_id, question_text) VALUES (:o, 'Who?')"), {"o": org_id})
    assert states(orgs(session)) == [("open", 1)]


def test_a_networks_batch_is_done_when_every_member_is_read_and_charged(session: Session):
    network_id = seed_network(session, days=[0])
    members = [small_org(session, name, network_id=network_id, days=()) for name in ("A", "B")]
    batch_id = open_network_batch(session, network_id, run_date=MONDAY)
    finish(session, batch_id, members[0])
    assert states(networks(session)) == [("open", 0)]
    evaluate(session, batch_id, members[1])
    assert states(networks(session)) == [("open", 0)]
    seed_charges(session, batch_id, members[1])
    assert states(networks(session)) == [("done", 0)]
    assert networks(session)[0].batch_id == batch_id


def test_the_week_counts_what_each_day_asks(session: Session):
    assert weekly_load(session) == [DayLoad(dow) for dow in range(7)]
    small_org(session, "A", days=[0, 2])
    network_id = seed_network(session, days=[2])
    small_org(session, "B", network_id=network_id, days=())
    assert weekly_load(session, replicates=2)[:3] == [DayLoad(0, 1, 0, 8), DayLoad(1), DayLoad(2, 1, 1, 14)]
    assert [(plan.name, plan.days, plan.readers) for plan in weekly_plans(session)] == [
        ("A", (0, 2), 1),
        ("Northern Trades League", (2,), 1),
    ]


def test_the_number_of_statements_does_not_grow_with_the_orgs(database: Database):
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with database.transaction() as session:
        for number in range(3):
            small_org(session, f"Org {number}")
        session.flush()
        statements.clear()
        assert len(orgs(session)) == 3
        assert len(statements) == 1
