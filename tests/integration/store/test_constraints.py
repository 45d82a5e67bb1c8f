"""Every rule that the data model calls unique or check is refused by the database itself."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2.errors import CheckViolation, ForeignKeyViolation, NumericValueOutOfRange, UniqueViolation
from sqlalchemy import create_engine, text

from tests.support.seed import seed_org
from visibility.store.tables import Base

BATCH, RUN, EVALUATION, JOB = (UUID(f"00000000-0000-4000-8000-00000000000{number}") for number in range(1, 5))


@pytest.fixture(scope="module")
def world(database_template):
    """One of everything, in a database for all tests of this file; each test undoes what it does."""
    from sqlalchemy.orm import Session

    from tests.support import postgres

    with postgres.clone(*database_template) as url:
        engine = create_engine(url)
        with Session(engine) as session, session.begin():
            org_id = seed_org(session, questions=1, models=("chatgpt",), locations=(("US", None, None),), days=(0,),
                              pricing={"margin_pct": "0.4"})  # fmt: skip
            partner_id = session.execute(text("SELECT partner_id FROM partners")).scalar_one()
            network_id = session.execute(
                text("INSERT INTO networks (partner_id, name) VALUES (:id, 'League') RETURNING network_id"),
                {"id": partner_id},
            ).scalar_one()
            question_id = session.execute(text("SELECT question_id FROM geo_questions")).scalar_one()
            ids = {
                "org": org_id, "partner": partner_id, "network": network_id, "question": question_id,
                "batch": BATCH, "run": RUN, "evaluation": EVALUATION, "job": JOB,
            }  # fmt: skip
            for statement in ONE_OF_EVERYTHING:
                session.execute(text(statement), ids)
        yield engine, ids
        engine.dispose()


ONE_OF_EVERYTHING = (
    "INSERT INTO evaluation_batches (batch_id, scope, org_id, run_date) VALUES (:batch, 'org', :org, '2026-01-05')",
    "INSERT INTO provider_jobs (job_id, provider, dataset_id, snapshot_id, status, submitter, input_count, deadline_at)"
    " VALUES (:job, 'brightdata:chatgpt', 'gd_1', 's_1', 'submitted', 'test', 1, now())",
    "INSERT INTO question_runs (question_run_id, batch_id, question_id, model, country_code, status, response_text)"
    " VALUES (:run, :batch, :question, 'chatgpt', 'US', 'answered', 'Northwind.')",
    "INSERT INTO answer_brands (question_run_id, name, name_key, first_offset, occurrences)"
    " VALUES (:run, 'Acme', 'acme', 0, 1)",
    "INSERT INTO org_evals (evaluation_id, question_run_id, org_id, extractor_version, mentioned, reason)"
    " VALUES (:evaluation, :run, :org, 'v1', true, 'verified')",
    "INSERT INTO org_competitors (evaluation_id, name, name_key, rank) VALUES (:evaluation, 'Acme', 'acme', 1)",
    "INSERT INTO org_citations (evaluation_id, url, domain, type, position, source)"
    " VALUES (:evaluation, 'https://a.example/', 'a.example', 'secondary', 1, 'text')",
    "INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, expires_at)"
    " VALUES (:batch, :org, 'ORG', :org, 1, 0.05, now())",
    "INSERT INTO partner_usage_ledger"
    " (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id, batch_id)"
    " VALUES (:org, :partner, 'ORG', :org, -0.05, 'question_run', :run, :batch)",
)  # fmt: skip

UNIQUE = {
    "a partner's name": "INSERT INTO partners (name) VALUES ('Beacon Agency')",
    "an org's name within its partner": "INSERT INTO orgs (partner_id, name) VALUES (:partner, 'Northwind Heating')",
    "a network's name within its partner": "INSERT INTO networks (partner_id, name) VALUES (:partner, 'League')",
    "a website of an org": "INSERT INTO org_websites (org_id, url) SELECT org_id, url FROM org_websites",
    "a model of an owner": "INSERT INTO geo_models (org_id, name) VALUES (:org, 'chatgpt')",
    "a place of an owner, nulls counting as equal": "INSERT INTO locations (org_id, country_code) VALUES (:org, 'US')",
    "a weekday of an owner": "INSERT INTO schedules (org_id, dow) VALUES (:org, 0)",
    "a batch of an owner and day":
        "INSERT INTO evaluation_batches (scope, org_id, run_date) VALUES ('org', :org, '2026-01-05')",
    "an expected run of a batch, nulls counting as equal":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code)"
        " VALUES (:batch, :question, 'chatgpt', 'US')",
    "a snapshot":
        "INSERT INTO provider_jobs (provider, dataset_id, snapshot_id, status, submitter, input_count, deadline_at)"
        " VALUES ('brightdata:gemini', 'gd_2', 's_1', 'submitted', 'test', 1, now())",
    "a brand of an answer": ONE_OF_EVERYTHING[3],
    "an evaluation of an answer for an org by one extractor":
        "INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason)"
        " VALUES (:run, :org, 'v1', false, 'name_absent')",
    "a competitor of an evaluation": ONE_OF_EVERYTHING[5],
    "a citation of an evaluation": ONE_OF_EVERYTHING[6],
    "a price of a partner and action":
        "INSERT INTO pricing_configs (partner_id, action, fixed_price) VALUES (:partner, 'question_run', 1)",
    "a balance of a payer":
        "INSERT INTO credit_balances (payer_type, payer_id, current_balance) VALUES ('ORG', :org, 1)",
    "an active hold of a batch and org": ONE_OF_EVERYTHING[7],
    "a charge of an answer and org": ONE_OF_EVERYTHING[8],
}  # fmt: skip

ALLOWED = {
    "a model of a network beside that of an org":
        "INSERT INTO geo_models (network_id, name) VALUES (:network, 'chatgpt')",
    "a batch of a network on the same day":
        "INSERT INTO evaluation_batches (scope, network_id, run_date) VALUES ('network', :network, '2026-01-05')",
    "another replicate":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code, replicate)"
        " VALUES (:batch, :question, 'chatgpt', 'US', 2)",
    "the same country with a city":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code, city)"
        " VALUES (:batch, :question, 'chatgpt', 'US', 'Boston')",
    "two jobs without a snapshot yet":
        "INSERT INTO provider_jobs (provider, dataset_id, submitter, input_count, deadline_at)"
        " VALUES ('b', 'g', 't', 1, now()), ('b', 'g', 't', 1, now())",
    "an evaluation by another extractor":
        "INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason)"
        " VALUES (:run, :org, 'v2', false, 'name_absent')",
    "a released hold beside the active one":
        "INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, status, expires_at)"
        " VALUES (:batch, :org, 'ORG', :org, 1, 0.05, 'released', now())",
    "a refund beside the charge":
        "INSERT INTO partner_usage_ledger"
        " (org_id, partner_id, payer_type, payer_id, amount, kind, source_type, source_id, batch_id)"
        " VALUES (:org, :partner, 'ORG', :org, 0.05, 'refund', 'question_run', :run, :batch)",
}  # fmt: skip

CHECKS = {
    "a partner without a name": "INSERT INTO partners (name) VALUES (' ')",
    "a network without a name": "INSERT INTO networks (partner_id, name) VALUES (:partner, '')",
    "an org without a name": "INSERT INTO orgs (partner_id, name) VALUES (:partner, ' ')",
    "a negative spend limit": "UPDATE orgs SET spend_limit = -1",
    "a blank website": "INSERT INTO org_websites (org_id, url) VALUES (:org, ' ')",
    "a model without owner": "INSERT INTO geo_models (name) VALUES ('gemini')",
    "a model of two owners": "INSERT INTO geo_models (org_id, network_id, name) VALUES (:org, :network, 'gemini')",
    "a blank model": "INSERT INTO geo_models (org_id, name) VALUES (:org, '')",
    "a location without owner": "INSERT INTO locations (country_code) VALUES ('CA')",
    "a location of two owners":
        "INSERT INTO locations (org_id, network_id, country_code) VALUES (:org, :network, 'CA')",
    "a country in lower case": "INSERT INTO locations (org_id, country_code) VALUES (:org, 'ca')",
    "a country of three letters": "INSERT INTO locations (org_id, country_code) VALUES (:org, 'CAN')",
    "the country UK": "INSERT INTO locations (org_id, country_code) VALUES (:org, 'UK')",
    "a blank region": "INSERT INTO locations (org_id, country_code, region_name) VALUES (:org, 'CA', ' ')",
    "a blank city": "INSERT INTO locations (org_id, country_code, city) VALUES (:org, 'CA', '')",
    "a question without owner": "INSERT INTO geo_questions (question_text) VALUES ('Who?')",
    "a question of two owners":
        "INSERT INTO geo_questions (org_id, network_id, question_text) VALUES (:org, :network, 'Who?')",
    "a blank question": "INSERT INTO geo_questions (org_id, question_text) VALUES (:org, '  ')",
    "a schedule without owner": "INSERT INTO schedules (dow) VALUES (1)",
    "a schedule of two owners": "INSERT INTO schedules (org_id, network_id, dow) VALUES (:org, :network, 1)",
    "an eighth weekday": "INSERT INTO schedules (org_id, dow) VALUES (:org, 7)",
    "a weekday below Monday": "INSERT INTO schedules (org_id, dow) VALUES (:org, -1)",
    "a batch without owner": "INSERT INTO evaluation_batches (scope, run_date) VALUES ('network', '2026-01-06')",
    "a batch of two owners":
        "INSERT INTO evaluation_batches (scope, org_id, network_id, run_date)"
        " VALUES ('org', :org, :network, '2026-01-06')",
    "a batch whose scope is not its owner's":
        "INSERT INTO evaluation_batches (scope, org_id, run_date) VALUES ('network', :org, '2026-01-06')",
    "an unknown scope": "UPDATE evaluation_batches SET scope = 'planet'",
    "an unknown state of a batch": "UPDATE evaluation_batches SET status = 'paused'",
    "an unknown state of a job": "UPDATE provider_jobs SET status = 'lost'",
    "a submitted job without snapshot": "UPDATE provider_jobs SET snapshot_id = NULL",
    "a job of nothing": "UPDATE provider_jobs SET input_count = 0",
    "an unknown state of a run":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code, status)"
        " VALUES (:batch, :question, 'gemini', 'US', 'maybe')",
    "an answered run without an answer":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code, status)"
        " VALUES (:batch, :question, 'gemini', 'US', 'answered')",
    "an answer of a failed run":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code, status, error_code, response_text)"
        " VALUES (:batch, :question, 'gemini', 'US', 'failed', 'blocked', 'error: blocked')",
    "a failed run without a code":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code, status)"
        " VALUES (:batch, :question, 'gemini', 'US', 'failed')",
    "a replicate below one": "UPDATE question_runs SET replicate = 0",
    "a negative cost of an answer": "UPDATE question_runs SET cost_usd = -1",
    "negative attempts": "UPDATE question_runs SET attempts = -1",
    "a brand before the answer": "UPDATE answer_brands SET first_offset = -1",
    "a brand that does not occur": "UPDATE answer_brands SET occurrences = 0",
    "an unknown sentiment": "UPDATE org_evals SET sentiment = 'mixed'",
    "a share of voice above one": "UPDATE org_evals SET share_of_voice = 1.01",
    "a rank before the first": "UPDATE org_evals SET mention_rank = 0",
    "a negative cost of an evaluation": "UPDATE org_evals SET cost_usd = -1",
    "a competitor before the first": "UPDATE org_competitors SET rank = 0",
    "an unknown type of citation": "UPDATE org_citations SET type = 'tertiary'",
    "an unknown source of a citation": "UPDATE org_citations SET source = 'rumour'",
    "a citation before the first": "UPDATE org_citations SET position = 0",
    "a negative cost of a call":
        "INSERT INTO llm_calls (purpose, model, input_tokens, output_tokens, cost_usd, price_table, latency_ms)"
        " VALUES ('names', 'gpt', 1, 1, -1, 'p', 1)",
    "a negative fixed price": "UPDATE pricing_configs SET fixed_price = -1",
    "a balance below zero": "UPDATE credit_balances SET current_balance = -0.000001",
    "an unknown payer of a balance": "UPDATE credit_balances SET payer_type = 'NETWORK'",
    "an unknown payer of a top-up": "UPDATE credit_top_ups SET payer_type = 'NETWORK'",
    "an unknown payer of a hold": "UPDATE credit_holds SET payer_type = 'NETWORK'",
    "an unknown state of a hold": "UPDATE credit_holds SET status = 'open'",
    "a negative hold": "UPDATE credit_holds SET amount = -1",
    "an unknown payer of an entry": "UPDATE partner_usage_ledger SET payer_type = 'NETWORK'",
    "an unknown kind of entry": "UPDATE partner_usage_ledger SET kind = 'gift'",
    "a charge that pays the payer": "UPDATE partner_usage_ledger SET amount = 0.05",
    "a refund that charges the payer": "UPDATE partner_usage_ledger SET kind = 'refund'",
}  # fmt: skip

REFERENCES = {
    "an org of no partner": "INSERT INTO orgs (partner_id, name) VALUES (:stranger, 'x')",
    "an org of no network": "UPDATE orgs SET network_id = :stranger",
    "a run of no batch":
        "INSERT INTO question_runs (batch_id, question_id, model, country_code)"
        " VALUES (:stranger, :question, 'm', 'US')",
    "a run of no question": "UPDATE question_runs SET question_id = :stranger",
    "a run of no job": "UPDATE question_runs SET provider_job_id = :stranger",
    "an evaluation of no answer": "UPDATE org_evals SET question_run_id = :stranger",
    "a hold of no batch": "UPDATE credit_holds SET batch_id = :stranger",
    "an entry of no org": "UPDATE partner_usage_ledger SET org_id = :stranger",
    "an answered run taken away from its evaluation": "DELETE FROM question_runs",
    "a question taken away from its answers": "DELETE FROM geo_questions",
}  # fmt: skip


def violation(world, statement: str) -> type[psycopg2.Error] | None:
    """Run a statement, undo it, and return what it violated."""
    engine, ids = world
    with engine.connect() as connection:
        try:
            connection.execute(text(statement), {**ids, "stranger": uuid4()})
        except Exception as error:
            return type(error.orig)
    return None


@pytest.mark.parametrize("rule", UNIQUE)
def test_there_is_only_one(world, rule):
    assert violation(world, UNIQUE[rule]) is UniqueViolation


@pytest.mark.parametrize("rule", ALLOWED)
def test_there_may_be(world, rule):
    assert violation(world, ALLOWED[rule]) is None


@pytest.mark.parametrize("rule", CHECKS)
def test_there_is_never(world, rule):
    assert violation(world, CHECKS[rule]) is CheckViolation


@pytest.mark.parametrize("rule", REFERENCES)
def test_nothing_refers_to_what_is_not_there(world, rule):
    assert violation(world, REFERENCES[rule]) is ForeignKeyViolation


def test_an_amount_that_numeric_14_6_cannot_hold_is_refused(world):
    assert violation(world, "UPDATE credit_balances SET current_balance = 100000000") is NumericValueOutOfRange


def test_an_evaluation_takes_its_competitors_and_citations_with_it(world):
    engine, _ = world
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM org_evals"))
        left = connection.execute(
            text("SELECT (SELECT count(*) FROM org_competitors) + (SELECT count(*) FROM org_citations)")
        )
        assert left.scalar_one() == 0


def test_every_time_is_with_zone_and_every_amount_is_exact():
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            kind = str(column.type.compile(dialect=psycopg2_dialect()))
            if kind.startswith("TIMESTAMP"):
                assert kind == "TIMESTAMP WITH TIME ZONE", f"{table.name}.{column.name}"
            if column.name in ("amount", "current_balance", "cost_usd", "fixed_price", "quoted_price", "spend_limit"):
                assert kind == "NUMERIC(14, 6)", f"{table.name}.{column.name}"


def psycopg2_dialect():
    from sqlalchemy.dialects.postgresql import psycopg2 as dialect

    return dialect.dialect()
