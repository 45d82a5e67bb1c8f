from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.orm import Session

from tests.support.billing import answer, evaluate, open_batch, open_network_batch
from tests.support.seed import seed_network, seed_org
from visibility.errors import ConfigurationError, DatabaseUnavailable
from visibility.store import migrate
from visibility.store.tables import Base

CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2
"""
INDEXES = """
SELECT tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2
"""
COLUMNS = """
SELECT c.table_name, c.column_name, c.data_type, c.numeric_precision, c.numeric_scale, c.is_nullable, c.column_default
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND c.table_name <> 'alembic_version' ORDER BY 1, 2
"""


@pytest.fixture
def connect():
    engines = []

    def open_connection(url: str) -> Connection:
        engines.append(create_engine(url))
        return engines[-1].connect()

    yield open_connection
    for engine in engines:
        engine.dispose()


def catalog(connection: Connection) -> dict[str, list[tuple]]:
    queries = {"constraints": CONSTRAINTS, "indexes": INDEXES, "columns": COLUMNS}
    return {name: [tuple(row) for row in connection.execute(text(query))] for name, query in queries.items()}


def test_autogenerate_finds_nothing_to_add_to_the_migrations(database_url, connect):
    with connect(database_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_make_exactly_the_declared_columns_constraints_and_indexes(
    database_url, empty_database_url, connect
):
    with connect(empty_database_url) as declared, connect(database_url) as migrated:
        Base.metadata.create_all(declared)
        expected, found = catalog(declared), catalog(migrated)
    assert found == expected
    assert len(expected["constraints"]) > 100


def test_the_views_for_readers_exist(database_url, connect):
    with connect(database_url) as connection:
        views = set(inspect(connection).get_view_names())
    assert views == {"org_evaluation_batches", "network_org_evals", "latest_org_evals", "latest_question_runs"}


def test_every_migration_runs_forward_on_a_database_with_data(empty_database_url, connect):
    migrate.upgrade(empty_database_url, "0001")
    with connect(empty_database_url) as connection:
        connection.execute(text("INSERT INTO partners (name) VALUES ('Beacon')"))
        connection.execute(
            text("INSERT INTO orgs (partner_id, name) SELECT partner_id, 'Northwind Heating' FROM partners")
        )
        connection.execute(
            text("INSERT INTO geo_questions (org_id, question_text) SELECT org_id, 'Who repairs furnaces?' FROM orgs")
        )
        connection.commit()
    migrate.upgrade(empty_database_url, "0004")
    with connect(empty_database_url) as connection:
        connection.execute(
            text(
                "INSERT INTO evaluation_batches (scope, org_id, run_date) SELECT 'org', org_id, '2026-01-05' FROM orgs"
            )
        )
        connection.execute(
            text(
                "INSERT INTO question_runs"
                " (batch_id, question_id, model, country_code, status, response_text, answered_at)"
                " SELECT batch_id, question_id, 'chatgpt', 'US', 'answered', 'Northwind.', now()"
                " FROM evaluation_batches, geo_questions"
            )
        )
        connection.commit()
    migrate.upgrade(empty_database_url)
    with connect(empty_database_url) as connection:
        assert connection.execute(text("SELECT response_text FROM latest_question_runs")).scalar_one() == "Northwind."
        assert connection.execute(text("SELECT count(*) FROM org_evaluation_batches")).scalar_one() == 1


def test_after_0006_evaluations_of_a_networks_batches_are_shown_once_and_newest(empty_database_url, connect):
    migrate.upgrade(empty_database_url, "0005")
    with connect(empty_database_url) as connection, Session(connection) as session:
        network_id = seed_network(session, questions=2)
        org_id = seed_org(session, network_id=network_id, balance=None)
        for batch_id in (open_network_batch(session, network_id), open_batch(session, org_id)):
            answer(session, batch_id)
            evaluate(session, batch_id, org_id, version="v1")
            session.commit()  # a newer evaluation has a later time
            evaluate(session, batch_id, org_id, version="v2", limit=1)
        session.commit()
    migrate.upgrade(empty_database_url)
    with connect(empty_database_url) as connection:
        shown = connection.execute(text("SELECT network_id, extractor_version FROM network_org_evals ORDER BY 2")).all()
        assert shown == [(network_id, "v1"), (network_id, "v2")]
        assert connection.execute(text("SELECT count(*) FROM latest_org_evals")).scalar_one() == 2 + 60
        assert connection.execute(text("SELECT count(*) FROM reading_leases, brand_readings")).scalar_one() == 0


def test_a_failing_migration_leaves_nothing_half_done(empty_database_url, connect):
    with connect(empty_database_url) as connection:
        connection.execute(text("CREATE TABLE partner_usage_ledger (surprise int)"))
        connection.commit()
    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(empty_database_url)
    with connect(empty_database_url) as connection:
        assert inspect(connection).get_table_names() == ["partner_usage_ledger"]


def test_upgrading_again_changes_nothing(database_url):
    before = migrate.current(database_url)
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == before == migrate.head()


def test_several_processes_may_upgrade_at_once(empty_database_url):
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: migrate.upgrade(empty_database_url), range(3)))
    assert migrate.current(empty_database_url) == migrate.head()


def test_an_empty_database_counts_as_never_migrated(empty_database_url):
    assert migrate.current(empty_database_url) is None


def test_a_newer_schema_is_refused(database_url, connect):
    with connect(database_url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(ConfigurationError, match="9999, newer than this version"):
        migrate.upgrade(database_url)
    with pytest.raises(ConfigurationError, match="9999, newer than this version"):
        migrate.require_current(database_url)


def test_the_command_migrates_and_says_what_it_did(empty_database_url):
    command = [sys.executable, "-m", "visibility.store.migrate", "--database-url", empty_database_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"The database was at no revision and is at {migrate.head()}.\n"
    assert done.stderr == ""


def test_the_command_says_in_one_line_that_there_is_no_server():
    command = [sys.executable, "-m", "visibility.store.migrate", "--database-url", "postgresql://x@127.0.0.1:1/x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Postgres cannot be reached: ")
    assert done.stderr.count("\n") == 1


def test_alembics_own_command_works_on_the_configured_database(database_url):
    url = database_url.replace("+psycopg2", "")
    command = [sys.executable, "-m", "alembic", "check"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=migrate.FOLDER.parent,
        env={**os.environ, "DATABASE_URL": url},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "No new upgrade operations detected.\n"), done.stderr


def test_an_unreachable_server_is_unavailable():
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        migrate.upgrade("postgresql://x@127.0.0.1:1/x")


def test_an_answer_cannot_be_altered(database):
    run_id = _answered_run(database)
    with pytest.raises(Exception, match="immutable"), database.transaction() as session:
        session.execute(
            text("UPDATE question_runs SET response_text = 'x' WHERE question_run_id = :id"), {"id": run_id}
        )


def test_an_answered_run_cannot_become_unanswered(database):
    run_id = _answered_run(database)
    statement = "UPDATE question_runs SET status = 'pending', response_text = NULL WHERE question_run_id = :id"
    with pytest.raises(Exception, match="immutable"), database.transaction() as session:
        session.execute(text(statement), {"id": run_id})


def test_the_latest_view_shows_the_newest_answer_per_question_model_and_location(database):
    _answered_run(database, date="2026-01-05", answer="old")
    _answered_run(database, date="2026-01-06", answer="new")
    with database.transaction() as session:
        assert session.execute(text("SELECT response_text FROM latest_question_runs")).scalars().all() == ["new"]


def _answered_run(database, date: str = "2026-01-05", answer: str = "Northwind.") -> object:
    run_id = uuid4()
    with database.transaction() as session:
        org_id = session.execute(text("SELECT org_id FROM orgs")).scalar_one_or_none() or seed_org(session, questions=1)
        session.execute(
            text(
                "WITH b AS (INSERT INTO evaluation_batches (scope, org_id, run_date) VALUES ('org', :org_id, :date)"
                " RETURNING batch_id) INSERT INTO question_runs"
                " (question_run_id, batch_id, question_id, model, country_code, status, response_text, answered_at)"
                " SELECT :run_id, batch_id, question_id, 'chatgpt', 'US', 'answered', :answer, now()"
                " FROM b, geo_questions"
            ),
            {"org_id": org_id, "date": date, "run_id": run_id, "answer": answer},
        )
    return run_id
