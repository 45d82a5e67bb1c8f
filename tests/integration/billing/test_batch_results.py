"""A batch's findings as frames, from a real Postgres."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import event, text

from tests.support import billing as money
from tests.support.seed import seed_org
from visibility.billing.settlement import settle
from visibility.metrics import metrics_by, org_metrics
from visibility.store.results import load_frame, load_results, top_cited_domains, top_competitors


def findings(session):
    """Four of six runs evaluated; the first three name rivals, the first two cite sources."""
    org_id = seed_org(session, questions=3, models=("chatgpt", "gemini"), locations=(("CA", "Ontario", "Toronto"),))
    batch_id = money.open_batch(session, org_id)
    money.hold_default(session, batch_id)
    money.answer(session, batch_id, limit=5)
    money.fail(session, batch_id, "timeout")
    money.evaluate(session, batch_id, org_id, limit=4)
    keys = list(session.execute(text("SELECT evaluation_id FROM org_evals ORDER BY question_run_id")).scalars())
    rivals = [(0, "Acme Air", 1), (0, "Zed", 2), (1, "ACME AIR", 2), (2, "Acme Air", 3)]
    sources = [(0, "https://a.example/1", "a.example"), (0, "https://a.example/2", "a.example"),
               (0, "https://own.example/", "own.example"), (1, "https://a.example/1", "a.example")]  # fmt: skip
    for number, name, rank in rivals:
        session.execute(
            text("INSERT INTO org_competitors (evaluation_id, name, name_key, rank) VALUES (:e, :n, :k, :r)"),
            {"e": keys[number], "n": name, "k": name.lower().replace(" ", ""), "r": rank},
        )
    for position, (number, url, domain) in enumerate(sources, 1):
        session.execute(
            text(
                "INSERT INTO org_citations (evaluation_id, url, domain, type, position, source) "
                "VALUES (:e, :u, :d, :t, :p, 'text')"
            ),
            {"e": keys[number], "u": url, "d": domain, "p": position, "t": "primary" if "own" in url else "secondary"},
        )
    return org_id, batch_id


def test_every_expected_run_has_one_row(database):
    with database.transaction() as session:
        _, batch_id = findings(session)
        runs = load_frame(session, batch_id)
    assert len(runs) == 6
    assert runs["evaluated"].sum() == 4
    assert runs["mentioned"].isna().sum() == 2
    assert set(runs["location"]) == {"Toronto, Ontario, CA"}
    assert runs["competitors"].sum() == 4
    assert (runs["citations"].sum(), runs["own_citations"].sum()) == (4, 1)


def test_what_was_charged_stands_beside_each_run(database):
    with database.transaction() as session:
        _, batch_id = findings(session)
        settle(session, batch_id)
        assert sum(load_frame(session, batch_id)["charged_usd"], Decimal(0)) == Decimal("0.20")


def test_the_figures_come_from_the_frame(database):
    with database.transaction() as session:
        _, batch_id = findings(session)
        runs = load_frame(session, batch_id)
    metrics = org_metrics(runs)
    assert (metrics.expected, metrics.answered, metrics.evaluated) == (6, 5, 4)
    assert metrics.share_of_voice_by_mentions.value == 0.5
    assert metrics.citation_share.value == 0.25
    assert metrics.share_of_voice_by_text.left_out == 4
    assert metrics.owned_citation_rate.left_out == 4
    assert set(metrics_by(runs, "model")) == {"chatgpt", "gemini"}


def test_only_the_latest_evaluation_of_a_run_counts_unless_a_version_is_named(database):
    with database.transaction() as session:
        org_id, batch_id = findings(session)
    with database.transaction() as session:
        money.evaluate(session, batch_id, org_id, version="v2")
        assert set(load_frame(session, batch_id)["extractor_version"].dropna()) == {"v2"}
        old = load_frame(session, batch_id, extractor_version="v1")
        assert (len(old), old["evaluated"].sum()) == (6, 4)


def test_competitors_are_ranked_by_the_answers_that_name_them(database):
    with database.transaction() as session:
        _, batch_id = findings(session)
        first, second = top_competitors(load_results(session, batch_id))
    assert (first.name, first.answers, first.n, first.rate, first.average_rank) == ("Acme Air", 3, 4, 0.75, 2)
    assert second.name == "Zed"


def test_domains_are_ranked_by_their_citations(database):
    with database.transaction() as session:
        _, batch_id = findings(session)
        results = load_results(session, batch_id)
    first, second = top_cited_domains(results)
    assert (first.domain, first.citations, first.answers, first.n, first.share) == ("a.example", 3, 2, 4, 0.75)
    assert (second.domain, second.is_own) == ("own.example", True)
    assert len(top_cited_domains(results, limit=1)) == 1


def test_an_empty_batch_gives_empty_frames_and_null_figures(database):
    with database.transaction() as session:
        results = load_results(session, money.open_batch(session, seed_org(session, questions=0)))
    assert (top_competitors(results), top_cited_domains(results)) == ([], [])
    assert org_metrics(results.runs).mention_rate.value is None


def test_a_batch_is_loaded_in_three_statements(database):
    with database.transaction() as session:
        _, batch_id = findings(session)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with database.transaction() as session:
        load_results(session, batch_id)
    assert len(statements) == 3
