from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import event, text

from tests.support.seed import seed_org
from visibility.domain import Location
from visibility.errors import InvalidInput
from visibility.store.orgs import load_org


def test_an_org_is_read_with_everything_its_evaluation_needs(database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=2, spend_limit=Decimal("12.5"), is_free_tier=True)
        seed_org(session, name="Another", questions=3)
    with database.transaction() as session:
        org = load_org(session, org_id)
    assert (org.name, org.spend_limit, org.is_free_tier, org.network_id) == (
        "Northwind Heating", Decimal("12.5"), True, None,
    )  # fmt: skip
    assert org.models == ("chatgpt", "gemini", "perplexity")
    assert org.locations == (Location("CA", "Ontario", "Toronto"), Location("US"))
    assert set(org.websites) == {"https://northwindheating.example", "https://northwind.example/heating"}
    assert [type(question.question_id) for question in org.questions] == [UUID, UUID]


def test_an_org_is_read_in_one_statement(database):
    with database.transaction() as session:
        org_id = seed_org(session)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with database.transaction() as session:
        load_org(session, org_id)
    assert len(statements) == 1


def test_an_org_without_locations_is_asked_about_from_the_us(database):
    with database.transaction() as session:
        assert load_org(session, seed_org(session, locations=())).locations == (Location("US"),)


def test_an_org_without_questions_models_and_websites_is_no_error(database):
    with database.transaction() as session:
        org = load_org(session, seed_org(session, questions=0, models=(), websites=()))
    assert (org.questions, org.models, org.websites) == ((), (), ())


def test_a_deleted_question_is_not_asked(database):
    with database.transaction() as session:
        org_id = seed_org(session, questions=2)
        session.execute(text("UPDATE geo_questions SET deleted_at = now() WHERE question_text LIKE 'Which company%'"))
        assert [question.text for question in load_org(session, org_id).questions] == [
            "Who installs heat pumps for older houses?"
        ]


def test_an_unknown_org_is_named(database):
    unknown = UUID("3f0c1f0e-0000-4000-8000-000000000000")
    with pytest.raises(InvalidInput, match=f"There is no organisation {unknown}."), database.transaction() as session:
        load_org(session, unknown)


def test_a_deleted_org_is_refused_with_the_day_it_was_deleted(database):
    with database.transaction() as session:
        org_id = seed_org(session)
        session.execute(text("UPDATE orgs SET deleted_at = '2026-03-01 12:00+00'"))
    with pytest.raises(InvalidInput, match="deleted on 2026-03-01"), database.transaction() as session:
        load_org(session, org_id)
