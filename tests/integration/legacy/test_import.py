"""The old system's tables taken over: whole, once, and as they were meant."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import event, text

from tests.support.legacy import GONE, MEMBER, NETWORK, ORG, OTHER, PARTNER, contents, made, writing
from visibility.errors import ConfigurationError, InvalidInput
from visibility.legacy.balances import Payer, unexplained
from visibility.legacy.mapping import read_mapping
from visibility.legacy.source import opened
from visibility.store.networks import find_missing, load_network
from visibility.store.orgs import load_org

TABLES = (
    "partners", "networks", "orgs", "org_websites", "geo_models", "locations", "geo_questions", "schedules",
    "pricing_configs", "credit_balances", "credit_top_ups", "evaluation_batches", "question_runs", "org_evals",
    "org_competitors", "org_citations", "partner_usage_ledger",
)  # fmt: skip
MONEY = ("credit_balances", "credit_top_ups")


def everything(database):
    with database.transaction() as session:
        return contents(session, TABLES)


def one(database, statement, **parameters):
    with database.transaction() as session:
        return session.execute(text(statement), parameters).one()


@pytest.fixture
def old(legacy_url, day):
    """An old system with a day of history, of an org, a deleted org and a network."""
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
        legacy.answers(GONE, day - timedelta(days=5))
        legacy.answers(NETWORK, day, scope="network", orgs=(MEMBER,))
    return legacy_url


def test_tenants_and_history_arrive_with_their_ids(old, take_over, database, day):
    report = take_over(strict=True)
    assert report.remarks == []
    with database.transaction() as session:
        org, network = load_org(session, ORG), load_network(session, NETWORK)
    assert (org.name, org.models, org.websites) == (
        "Northwind Heating",
        ("chatgpt",),
        ("https://northwindheating.example",),
    )
    assert {question.question_id for question in org.questions} == {made(f"{ORG}/1"), made(f"{ORG}/2")}
    assert [member.org_id for member in network.members] == [MEMBER]
    stored = one(
        database,
        """
        SELECT batch.run_date, batch.trigger, run.status, run.cost_usd, found.mentioned, found.sentiment,
            found.citation, rival.name, cited.url, entry.amount
        FROM evaluation_batches batch JOIN question_runs run USING (batch_id)
        JOIN org_evals found USING (question_run_id) JOIN org_competitors rival USING (evaluation_id)
        JOIN org_citations cited USING (evaluation_id) JOIN partner_usage_ledger entry ON source_id = question_run_id
        WHERE question_run_id = :run
        """,
        run=made(f"{made(f'{ORG}/{day}')}/1"),
    )
    assert tuple(stored) == (
        day, "legacy", "answered", Decimal("0.001500"), True, "positive", True, "Southwind Ltd",
        "https://northwindheating.example/a", Decimal("-0.050000"),
    )  # fmt: skip


def test_a_dry_run_counts_what_the_import_does_and_changes_nothing(old, take_over, database):
    before = everything(database)
    planned = take_over(dry_run=True)
    assert everything(database) == before
    assert planned.tables == take_over().tables
    assert planned.changes > 40


def test_a_second_import_changes_nothing(old, take_over, database):
    take_over()
    before = everything(database)
    assert take_over().changes == 0
    assert everything(database) == before


def test_an_import_that_dies_at_any_statement_is_whole_when_it_is_run_again(old, take_over, database, legacy_url):
    with writing(legacy_url) as legacy:
        legacy.add("partners", partner_id=made("second"), name="Another Agency", balance=5)
        legacy.add("orgs", org_id=OTHER, partner_id=made("second"), name="Other Org")
    planned = take_over(dry_run=True)
    sizes = set()
    for statements in (5, 20, 40, 60, 90, 130, 170, 220):
        with dying_after(database.engine, statements):
            take_over()
        half = everything(database)
        sizes.add(sum(map(len, half.values())))
        with database.transaction() as session:
            assert list(unexplained(session, [Payer("PARTNER", PARTNER), Payer("PARTNER", made("second"))])) == []
    assert len(sizes) >= 4
    take_over()
    whole = everything(database)
    assert {name: len(rows) for name, rows in whole.items() if name not in MONEY} == {
        name: counts.created for name, counts in planned.tables.items() if name not in MONEY
    }
    assert {row[2]: row[3] for row in whole["credit_balances"]} == {PARTNER: Decimal(80), made("second"): Decimal(5)}
    assert take_over().changes == 0


@contextmanager
def dying_after(engine, statements):
    """Lose the process after so many statements: what its transaction has done is gone."""
    left = iter(range(statements))

    def count(*_):
        if next(left, None) is None:
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        event.remove(engine, "before_cursor_execute", count)


def test_what_changed_in_the_old_system_is_followed(old, take_over, database, legacy_url, day):
    take_over()
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE orgs SET name = 'Northwind Heat & Air' WHERE org_id = :id", id=ORG)
        legacy.run("DELETE FROM geo_models WHERE org_id = :id", id=ORG)
        legacy.add("geo_models", org_id=ORG, name="perplexity")
        legacy.run("DELETE FROM geo_questions WHERE question_id = :id", id=made(f"{ORG}/2"))
        legacy.answers(ORG, day + timedelta(days=1))
        legacy.run("UPDATE partners SET balance = balance - 0.1")
    take_over()
    with database.transaction() as session:
        org = load_org(session, ORG)
    assert (org.name, org.models, len(org.questions)) == ("Northwind Heat & Air", ("perplexity",), 1)
    assert one(database, "SELECT current_balance FROM credit_balances").current_balance == Decimal("79.9")


def test_the_old_database_cannot_be_written(old):
    with opened(old, read_mapping()) as source, pytest.raises(ConfigurationError, match="read-only"):
        source.query("INSERT INTO partners (partner_id) VALUES (gen_random_uuid()) RETURNING 1", {})


def test_a_partner_can_be_taken_alone_and_schedules_left_out(old, take_over, database, legacy_url):
    with writing(legacy_url) as legacy:
        legacy.add("partners", partner_id=made("second"), name="Another Agency", balance=5)
    take_over(partners=frozenset({made("second")}))
    assert [row[1] for row in everything(database)["partners"]] == ["Another Agency"]
    take_over(without=frozenset({"schedules"}))
    assert everything(database)["schedules"] == []
    with pytest.raises(InvalidInput, match="knows websites"):
        take_over(without=frozenset({"plans"}))


def test_nobody_evaluates_or_charges_again_what_was_taken_over(old, take_over, database, legacy_url):
    with writing(legacy_url) as legacy:
        legacy.run("DELETE FROM partner_usage_ledger WHERE org_id = :id", id=MEMBER)
    take_over()
    with database.transaction() as session:
        joined = session.execute(
            text("SELECT CAST(network_joined_at AS date) FROM orgs WHERE org_id = :id"), {"id": MEMBER}
        ).scalar_one()
        assert find_missing(session, MEMBER, NETWORK, joined, "now", sandbox=False) == []
        uncharged = session.execute(
            text(
                "SELECT count(*) FROM org_evals found WHERE NOT EXISTS (SELECT FROM partner_usage_ledger entry"
                " WHERE entry.source_id = found.question_run_id AND entry.org_id = found.org_id)"
            )
        ).scalar_one()
    assert uncharged == 0


def test_a_day_that_has_a_batch_of_ours_keeps_it(old, take_over, database, day):
    take_over(before=day - timedelta(days=1))
    with database.transaction() as session:
        session.execute(
            text("INSERT INTO evaluation_batches (scope, org_id, run_date) VALUES ('org', :org, :day)"),
            {"org": ORG, "day": day},
        )
    report = take_over()
    assert report.tables["evaluation_batches"].repeated == 1
    count = "SELECT count(*) AS number FROM evaluation_batches WHERE org_id = :org"
    assert one(database, count, org=ORG).number == 1


def odd_rows(legacy, day):
    """What years of an old system leave behind."""
    run_id, *_ = legacy.answers(ORG, day)
    legacy.add("orgs", org_id=made("lost"), partner_id=made("nobody"), name="Lost")
    legacy.add("orgs", org_id=made("twin"), partner_id=PARTNER, name="Northwind Heating")
    legacy.add("orgs", org_id=made("ghost"), partner_id=PARTNER, name="Northwind Heating", deleted_at=day)
    legacy.add("orgs", org_id=made("blank"), partner_id=PARTNER, name="  ")
    legacy.add("orgs", org_id=made("cafe"), partner_id=PARTNER, name="CafÃ© Müller".encode().decode("utf-8"))
    legacy.add("orgs", org_id=made("mac"), partner_id=PARTNER, name="Caf√© Rouge", network_id=made("no network"))
    legacy.add("geo_models", org_id=ORG, name="chatgqt")
    legacy.add("geo_models", org_id=ORG, name="chatgpt")
    legacy.add("geo_models", name="gemini")
    legacy.add("locations", org_id=ORG, country_code="XX", city="Nowhere")
    legacy.add("locations", org_id=ORG, country_code="uk", city="QuÃ©bec")
    legacy.add("schedules", org_id=ORG, dow=9)
    legacy.add("org_websites", org_id=ORG, url="not a website")
    legacy.add(
        "geo_questions",
        question_id=made("again"),
        org_id=ORG,
        question_text="WHO repairs furnaces in Toronto, number 1?",
    )
    legacy.add("geo_questions", question_id=made("empty"), org_id=ORG, question_text=None)
    legacy.run("UPDATE partners SET balance = 'NaN'")
    legacy.add("partners", partner_id=made("debtor"), name="Debtor", balance=-12.5)
    second = legacy.batch(ORG, day, name="second")
    run = {"model": "chatgpt", "country_code": "US", "created_at": day, "batch_id": second}
    legacy.add(
        "question_runs", question_run_id=made("same"), question_id=made(f"{ORG}/1"), response_text="older", **run
    )
    legacy.add("question_runs", question_run_id=made("gone"), question_id=made("never"), response_text="lost", **run)
    legacy.add("question_runs", question_run_id=made("mute"), question_id=made(f"{ORG}/2"), **run | {"model": "gemini"})
    legacy.evaluation(run_id, ORG, day, name="twice")
    legacy.evaluation(run_id, made("nobody"), day)
    legacy.charge(run_id, ORG, day, name="twice")
    legacy.batch(ORG, day - timedelta(days=1), status="running")


def test_odd_rows_are_told_in_a_sentence_each_and_the_others_arrive(legacy_url, take_over, database, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        odd_rows(legacy, day)
    report = take_over()
    told = {f"{remark.table} {remark.key}": remark.sentence for remark in report.remarks if remark.skipped}
    assert told.keys() >= {
        f"orgs {made('lost')}", f"orgs {made('twin')}", f"orgs {made('blank')}", f"geo_questions {made('empty')}",
        f"credit_balances PARTNER {PARTNER}", f"credit_balances PARTNER {made('debtor')}",
        f"question_runs {made('gone')}",
    }  # fmt: skip
    assert told[f"orgs {made('lost')}"] == f"its partner {made('nobody')} is not there"
    assert "is -12.500000 USD, and no balance here is below 0" in told[f"credit_balances PARTNER {made('debtor')}"]
    sentences = " ".join(remark.sentence for remark in report.remarks)
    assert "did you mean 'chatgpt'?" in sentences and "'XX' is not a country code" in sentences
    names = {row[0]: row[4] for row in everything(database)["orgs"]}
    assert names[made("cafe")] == "CafÃ© Müller"  # half of it is well-formed: nobody can tell
    assert names[made("mac")] == "Café Rouge"
    assert names[made("ghost")] == f"Northwind Heating ({str(made('ghost'))[:8]})"
    with database.transaction() as session:
        org = load_org(session, ORG)
    assert {(place.country_code, place.city) for place in org.locations} == {("US", None), ("GB", "Québec")}
    assert (org.models, len(org.questions)) == (("chatgpt",), 2)
    states = "SELECT array_agg(status ORDER BY run_date) AS states FROM evaluation_batches"
    assert one(database, states).states == ["failed", "completed"]
    assert take_over().changes == 0


def test_strict_stops_at_the_first_row_that_cannot_be_taken(old, take_over, database, legacy_url):
    with writing(legacy_url) as legacy:
        legacy.add("orgs", org_id=made("lost"), partner_id=made("nobody"), name="Lost")
    with pytest.raises(InvalidInput, match=r"^orgs .* its partner .* is not there. Stopped, as --strict asks"):
        take_over(strict=True)
    assert everything(database)["partners"] == []
