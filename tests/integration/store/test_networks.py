"""A network as it is asked, and whether an org is read for it."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import event, text

from tests.support.seed import seed_network, seed_org
from visibility.domain import Location, Member
from visibility.errors import InvalidInput
from visibility.store.database import Database
from visibility.store.networks import load_member, load_network

UNKNOWN = UUID("3f0c1f0e-0000-4000-8000-000000000000")


def test_a_network_is_read_with_its_questions_and_members_in_one_statement(database: Database) -> None:
    places = (("US", "Ohio", None), ("US", "Texas", None))
    with database.transaction() as session:
        network_id = seed_network(session, questions=2, models=("gemini",), locations=places)
        seed_network(session, name="Another", questions=3)
        zulu, alpha = (seed_org(session, name=name, network_id=network_id, balance=None) for name in ("Zulu", "Alpha"))
        seed_org(session, name="Gone", network_id=network_id, balance=None)
        seed_org(session, name="Elsewhere")
        session.execute(text("UPDATE orgs SET deleted_at = now() WHERE name = 'Gone'"))
        session.execute(text("UPDATE geo_questions SET deleted_at = now() WHERE question_text LIKE 'Which company%'"))
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with database.transaction() as session:
        network = load_network(session, network_id)
    assert len(statements) == 1
    assert network.members == (Member(alpha, "Alpha"), Member(zulu, "Zulu"))
    assert (network.models, network.locations) == (("gemini",), (Location("US", "Ohio"), Location("US", "Texas")))
    assert [question.text for question in network.questions] == ["Who installs heat pumps for older houses?"]


def test_an_empty_network_is_no_error_and_has_the_defaults(database: Database) -> None:
    with database.transaction() as session:
        network = load_network(session, seed_network(session, questions=0, models=(), locations=()))
    assert (network.questions, network.members) == ((), ())
    assert (network.models, network.locations) == (("chatgpt", "perplexity", "gemini"), (Location("US"),))


def test_an_unknown_or_deleted_network_is_refused(database: Database) -> None:
    with database.transaction() as session:
        network_id = seed_network(session)
        org_id = seed_org(session, network_id=network_id, balance=None)
        session.execute(text("UPDATE networks SET deleted_at = '2026-03-01 12:00+00'"))
        with pytest.raises(InvalidInput, match=f"There is no network {UNKNOWN}."):
            load_network(session, UNKNOWN)
        with pytest.raises(InvalidInput, match="deleted on 2026-03-01"):
            load_network(session, network_id)
        with pytest.raises(InvalidInput, match="Northern Trades League of Northwind Heating was deleted on 2026-03-01"):
            load_member(session, org_id)


def test_an_org_is_read_for_the_network_it_is_in_and_no_other(database: Database) -> None:
    with database.transaction() as session:
        network_id, other_id = seed_network(session), seed_network(session, name="Another")
        org_id = seed_org(session, network_id=network_id, balance=None)
        org, found = load_member(session, org_id)
        assert found == network_id == load_member(session, org_id, network_id)[1]
        assert org.network_joined_at is not None and org.network_joined_at.year == 2025
        with pytest.raises(InvalidInput, match=f"is not in network {other_id} but in {network_id}"):
            load_member(session, org_id, other_id)
        session.execute(text("UPDATE orgs SET network_id = NULL, network_joined_at = NULL"))
        with pytest.raises(InvalidInput, match="is in no network"):
            load_member(session, org_id, network_id)
        with pytest.raises(InvalidInput, match="There is no organisation"):
            load_member(session, UNKNOWN)
