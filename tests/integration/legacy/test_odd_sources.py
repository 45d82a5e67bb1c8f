"""Old databases that are typed, coded or filled otherwise than one would expect."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.support.legacy import ORG, PARTNER, SCHEMA, at, made, writing
from visibility.errors import InvalidInput
from visibility.legacy.history_reading import Days
from visibility.legacy.importing import Choices, import_legacy
from visibility.legacy.mapping import read_mapping
from visibility.legacy.source import opened

LOOSE = ["question_runs", "evaluation_batches", "org_evals", "partner_usage_ledger"]


@pytest.fixture
def old(legacy_url, day):
    """An old system with a day of an org's history."""
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    return legacy_url


def loosen(legacy, day):
    """What hangs on nothing: two ledger rows, a run, two evaluations, two batches."""
    orphan = {"org_id": ORG, "partner_id": PARTNER, "amount": 7, "created_at": at(day)}
    legacy.add("partner_usage_ledger", ledger_id=made("no run"), **orphan)
    legacy.charge(made("nowhere"), ORG, day)
    legacy.add("question_runs", question_run_id=made("lost"), batch_id=made("no batch"), created_at=at(day))
    legacy.evaluation(made("nowhere"), ORG, day)
    legacy.evaluation(made("nowhere"), ORG, day, network=True)
    legacy.batch(made("no org"), day)
    legacy.batch(made("no network"), day, scope="network")


def test_what_hangs_on_nothing_is_counted_told_and_not_strict(old, take_over, day):
    assert take_over(strict=True).sum_of("skipped") == 0
    with writing(old) as legacy:
        loosen(legacy, day)
    report = take_over()
    assert {name: report.tables[name].skipped for name in LOOSE} == {
        "question_runs": 1, "evaluation_batches": 2, "org_evals": 2, "partner_usage_ledger": 2,
    }  # fmt: skip
    assert "partner_usage_ledger 2 rows: of no question run; the balance has them in it." in map(str, report.remarks)
    with pytest.raises(InvalidInput, match="question_runs 1 rows: of no batch"):
        take_over(strict=True)
    assert take_over(partners=frozenset({PARTNER}), strict=True).sum_of("skipped") == 0


def test_ids_of_a_fixed_width_are_read(old, take_over, day):
    ids = {
        "org_evaluation_batches": ("batch_id", "org_id"),
        "question_runs": ("batch_id", "question_run_id"),
        "org_evals": ("question_run_id",),
        "partner_usage_ledger": ("question_run_id",),
    }
    with writing(old) as legacy:
        for table, columns in ids.items():
            for column in columns:
                legacy.run(f"ALTER TABLE {table} ALTER {column} TYPE char(36)")
    report = take_over(strict=True)
    assert [report.tables[name].created for name in LOOSE] == [2, 1, 2, 2]


@pytest.mark.parametrize(("true", "false"), [("true", "false"), ("T", "f"), ("1", "0"), ("yes", "No"), ("on", "off")])
def test_booleans_that_are_words_are_read(old, take_over, here, true, false):
    with writing(old) as legacy:
        for table, column in (("org_evals", "is_mention_verified"), ("orgs", "is_free_tier")):
            legacy.run(f"ALTER TABLE {table} ALTER {column} TYPE text")
            legacy.run(f"UPDATE {table} SET {column} = CASE {column} WHEN 'true' THEN '{true}' ELSE '{false}' END")
    take_over(strict=True)
    assert here("SELECT mentioned FROM org_evals ORDER BY 1") == [(False,), (True,)]
    assert here("SELECT DISTINCT is_free_tier FROM orgs") == [(False,)]


def test_a_word_that_is_neither_true_nor_false_is_told(old, take_over):
    with writing(old) as legacy:
        legacy.run("ALTER TABLE org_evals ALTER is_mention_verified TYPE text")
        legacy.run("UPDATE org_evals SET is_mention_verified = 'maybe'")
    assert "its mentioned 'maybe' is neither true nor false" in {remark.sentence for remark in take_over().remarks}


def test_a_value_that_makes_no_sense_costs_no_answer(old, take_over, here):
    with writing(old) as legacy:
        for table, column in (
            ("org_evals", "share_of_voice"),
            ("org_evals", "mention_rank"),
            ("question_runs", "input_tokens"),
        ):
            legacy.run(f"ALTER TABLE {table} ALTER {column} TYPE numeric")
            legacy.run(f"UPDATE {table} SET {column} = 'NaN'")
        legacy.run("UPDATE question_runs SET total_cost = 'NaN'")
        legacy.run("UPDATE org_evals SET total_cost = -1")
    report = take_over(strict=True)
    assert here("SELECT DISTINCT status, cost_usd FROM question_runs") == [("answered", 0)]
    assert here("SELECT DISTINCT share_of_voice, cost_usd FROM org_evals") == [(None, 0)]
    told = {remark.sentence for remark in report.remarks}
    assert "its cost -1.000000 USD is below 0; it is taken as 0" in told
    assert "its cost_usd nan is no amount that can be stored; it is taken as 0" in told
    assert "the share of voice NaN is no ratio from 0 to 1 and is left out" in told


def test_addresses_and_names_that_no_index_takes_are_left_out(old, take_over, here):
    long = "(SELECT string_agg(md5(CAST(n AS text)), '') FROM generate_series(1, 150) n)"
    with writing(old) as legacy:
        legacy.run(f"UPDATE citations SET url = 'https://a.example/' || {long}")
        legacy.run(f"UPDATE competitors SET name = {long}")
    report = take_over()
    assert (report.failures, here("SELECT count(*) FROM org_evals")) == ([], [(2,)])
    assert [report.tables[name].skipped for name in ("org_citations", "org_competitors")] == [2, 2]
    assert max(len(remark.sentence) for remark in report.remarks) < 200


@pytest.fixture
def uncoded(database_url, day):
    """The URL of an old system in a database that does not know its coding: UTF-8 but for one answer."""
    name = f"{make_url(database_url).database}_uncoded"
    admin = create_engine(database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
    url = make_url(database_url).set(database=name).render_as_string(False)
    with writing(url) as legacy:
        legacy.run(SCHEMA)
        legacy.tenants()
        run_id, other = legacy.answers(ORG, day)
        legacy.run(r"UPDATE orgs SET name = E'Caf\xc3\xa9 Nord' WHERE org_id = :id", id=ORG)
        legacy.run(r"UPDATE question_runs SET response_text = E'Caf\xc3\xa9' WHERE question_run_id = :id", id=run_id)
        legacy.run(r"UPDATE question_runs SET response_text = E'Caf\xe9' WHERE question_run_id = :id", id=other)
    yield url, other
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_database_that_does_not_know_its_coding_is_read_as_utf_8(uncoded, database, here, day):
    url, broken = uncoded
    with opened(url, read_mapping()) as source:
        report = import_legacy(
            database, source, Choices(Days(at(day).date().replace(year=day.year + 1))), lambda line: None
        )
    assert here("SELECT name FROM orgs WHERE org_id = :id", id=ORG) == [("Café Nord",)]
    assert here("SELECT response_text FROM question_runs") == [("Café",)]
    assert f"question_runs {broken}: its text is not UTF-8." in map(str, report.remarks)
