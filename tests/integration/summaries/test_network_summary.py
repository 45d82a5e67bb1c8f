"""What a network's batch came to: figures against values computed by hand, from a real Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support import billing as money
from tests.support.readings import OWN, read_for, simulate
from tests.support.seed import seed_network, seed_org
from visibility.errors import BatchFailed, LeaseLost
from visibility.network_summary import Child, NetworkSummary, complete_network, summarise_network
from visibility.store.database import Database
from visibility.store.leases import HeldLease

NOTHING = {"questions": 0, "models": (), "locations": (), "balance": None}


@dataclass(frozen=True)
class World:
    """A network with a batch of four runs, three of them answered: alpha and beta are read, gamma is not."""

    network: UUID
    batch: UUID
    alpha: UUID
    beta: UUID
    gamma: UUID
    delta: UUID


def world(session: Session) -> World:
    """Alpha: named 3 of 3, ranks 1 1 2. Beta: named 1 of 3, rank 2. Delta: named 0 of 3, then it left the network."""
    network = seed_network(session, questions=2, models=("chatgpt", "gemini"))
    names = ("Alpha Union", "Beta Union", "Gamma Union", "Delta Union")
    orgs = [seed_org(session, name=name, network_id=network, **NOTHING) for name in names]
    batch = money.open_network_batch(session, network)
    session.execute(text("UPDATE question_runs SET grounded = true"))
    money.answer(session, batch, limit=3)
    money.fail(session, batch, "timeout")
    given = World(network, batch, *orgs)
    _read(session, given)
    session.execute(text("UPDATE orgs SET network_id = NULL WHERE org_id = :o"), {"o": given.delta})
    return given


def _read(session: Session, given: World) -> None:
    first, second, third = answered(session, given.batch)
    alpha, beta, delta, site = given.alpha, given.beta, given.delta, "https://alpha.example/"
    news = ["https://news.example/1", "https://news.example/2"]
    positive = {"sentiment": "positive"}
    read_for(session, first, alpha, rank=1, **positive, rivals=["Acme", "Beta Union"], sources=[OWN + site, *news])
    read_for(session, second, alpha, rank=1, **positive, rivals=["ACME", "Gamma Union"], sources=news[:1])
    read_for(session, third, alpha, rank=2, sentiment="negative", rivals=["Zed"])
    read_for(session, first, beta, rank=2, rivals=["Alpha Union", "Acme"], sources=[site, *news])
    read_for(session, second, beta, rivals=["Alpha Union", "ACME", "Gamma Union"], sources=news[:1])
    read_for(session, third, beta, rivals=["Zed", "Alpha Union"])
    read_for(session, first, delta, rivals=["Alpha Union", "Acme", "Beta Union"], sources=[site, *news])
    read_for(session, second, delta, rivals=["Alpha Union", "ACME", "Gamma Union"], sources=news[:1])
    read_for(session, third, delta, rivals=["Zed", "Alpha Union"])
    read_for(session, third, delta, rivals=["Old"], sources=["https://old.example/"], version="v0")


def answered(session: Session, batch_id: UUID) -> list[UUID]:
    statement = "SELECT question_run_id FROM question_runs WHERE batch_id = :b AND status = 'answered' ORDER BY 1"
    return list(session.execute(text(statement), {"b": batch_id}).scalars())


def summarised(session: Session, batch_id: UUID, *children: Child) -> NetworkSummary:
    return summarise_network(session, batch_id, "v1", children, failed_children_threshold=0.2)


def test_the_leaderboard_has_the_figures_of_every_member(database: Database) -> None:
    with database.transaction() as session:
        given = world(session)
        summary = summarised(session, given.batch)
    alpha, beta, delta, gamma = summary.leaderboard
    assert [standing.org_id for standing in summary.leaderboard] == [given.alpha, given.beta, given.delta, given.gamma]
    assert (alpha.evaluated, alpha.mentioned) == (3, 3)
    assert {name: (figure.value, figure.n, figure.unit) for name, figure in alpha.figures.items()} == {
        "coverage": (0.75, 4, "expected runs"),
        "mention_rate": (1, 3, "evaluated answers"),
        "share_of_voice_by_mentions": (3 / 8, 8, "namings of any brand"),  # 3 of alpha, 5 of its competitors
        "average_rank": (pytest.approx(4 / 3), 3, "ranked mentions"),
        "sentiment_index": (pytest.approx(1 / 3), 3, "judged mentions"),
        "owned_citation_rate": (pytest.approx(1 / 3), 3, "grounded answers"),
    }
    assert alpha.figures["mention_rate"].low == pytest.approx(0.4385, abs=1e-4)  # Wilson, 3 of 3
    assert beta.figures["mention_rate"].value == pytest.approx(1 / 3)
    assert beta.figures["share_of_voice_by_mentions"].value == pytest.approx(1 / 8)
    assert beta.figures["sentiment_index"].reason == "no mention was judged"
    assert (delta.left, delta.figures["mention_rate"].value) == (True, 0)
    assert (gamma.evaluated, gamma.figures["mention_rate"].reason) == (0, "no answer was evaluated")


def test_counts_are_those_of_the_members_of_now(database: Database) -> None:
    with database.transaction() as session:
        summary = summarised(session, world(session).batch)
    assert (summary.expected, summary.answered, summary.coverage, summary.failed) == (4, 3, 0.75, {"timeout": 1})
    assert (summary.members, summary.evaluations, summary.expected_evaluations) == (3, 6, 9)


def test_a_url_counts_once_per_answer_however_many_orgs_it_was_read_for(database: Database) -> None:
    with database.transaction() as session:
        summary = summarised(session, world(session).batch)
    news, own = summary.top_domains
    assert (news.name, news.answers, news.n, news.citations, news.members) == ("news.example", 2, 3, 3, [])
    assert (own.name, own.answers, own.citations, own.members) == ("alpha.example", 1, 1, ["Alpha Union"])


def test_a_host_that_many_share_is_no_members_own_site(database: Database) -> None:
    with database.transaction() as session:
        given = world(session)
        run = answered(session, given.batch)[0]
        read_for(session, run, given.gamma, sources=[OWN + "https://facebook.com/gamma"])
        domains = {top.name: top.members for top in summarised(session, given.batch).top_domains}
    assert domains["facebook.com"] == []


def test_top_brands_hold_no_member_not_even_one_that_was_not_evaluated(database: Database) -> None:
    with database.transaction() as session:
        summary = summarised(session, world(session).batch)
    assert [(brand.name, brand.answers, brand.n) for brand in summary.top_competitors] == [
        ("ACME", 2, 3),
        ("Zed", 1, 3),
    ]


def test_the_number_of_statements_does_not_depend_on_the_number_of_members(database: Database) -> None:
    with database.transaction() as session:
        few = world(session)
        many = seed_network(session, name="Larger", questions=2)
        for number in range(20):
            seed_org(session, name=f"Org {number}", network_id=many, **NOTHING)
        batch = money.open_network_batch(session, many)
    for batch_id in (few.batch, batch):
        statements: list[str] = []
        count = lambda *given, into=statements: into.append(given[2])  # noqa: E731
        event.listen(database.engine, "before_cursor_execute", count)
        with database.transaction() as session:
            summarised(session, batch_id)
        event.remove(database.engine, "before_cursor_execute", count)
        assert len(statements) == 6


def test_a_network_without_members_or_answers_is_summarised_without_a_figure(database: Database) -> None:
    with database.transaction() as session:
        network = seed_network(session, questions=0)
        batch = money.open_network_batch(session, network)
        simulate(session, batch)
        summary = summarised(session, batch)
        assert (summary.leaderboard, summary.top_domains, summary.top_competitors) == ([], [], [])
        assert (summary.coverage, summary.members, summary.expected_evaluations, summary.sandbox) == (None, 0, 0, True)
        seed_org(session, network_id=network, **NOTHING)
        (standing,) = summarised(session, batch).leaderboard
    assert standing.figures["coverage"].reason == "no run was expected"


def test_more_failed_children_than_the_threshold_fail_the_network(database: Database) -> None:
    with database.transaction() as session:
        given = world(session)
        good = [Child(org_id=uuid4(), org_name=f"Good {number}", state="completed") for number in range(4)]
        bad = Child(org_id=given.alpha, org_name="Alpha Union", state="crashed", reason="It died.")
        tolerated = summarised(session, given.batch, *good, bad)
        failed = summarised(session, given.batch, *good[:3], bad)
    assert (tolerated.status, tolerated.reason) == ("pending", None)
    assert tolerated.children[-1].evaluated == 3
    with pytest.raises(BatchFailed, match=r"1 of 4 members could not be evaluated \(threshold 20%\): Alpha Union\."):
        failed.raise_if_failed()


def test_a_networks_batch_is_completed_by_its_answers_alone(database: Database) -> None:
    with database.transaction() as session:
        network = seed_network(session, questions=4)
        seed_org(session, network_id=network, **NOTHING)
        batch = money.open_network_batch(session, network)
        money.answer(session, batch, limit=3)
        session.execute(text("UPDATE evaluation_batches SET lease_owner = 'me' WHERE batch_id = :b"), {"b": batch})
        held = HeldLease("batch", batch, "me")
        complete_network(session, held, "v1", coverage_threshold=0.75)
        assert summarised(session, batch).status == "completed"
        complete_network(session, held, "v1", coverage_threshold=0.8)
        failed = summarised(session, batch)
        with pytest.raises(LeaseLost):
            complete_network(session, HeldLease("batch", batch, "another"), "v1", coverage_threshold=0.8)
    assert (failed.status, str(failed.reason)[:28]) == ("failed", "Only 3 of 4 answers came bac")
