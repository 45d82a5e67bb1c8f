"""`python -m visibility.legacy import`: what it says, how it leaves, and what an operator can adapt."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from tests.support.legacy import ORG, writing
from tests.support.seed import seed_org
from tests.support.waiting import PATIENCE
from visibility.errors import InvalidFile
from visibility.legacy.__main__ import app
from visibility.legacy.mapping import read_mapping


@pytest.fixture
def call(legacy_url, database_url):
    def run(*options):
        return CliRunner().invoke(app, ["import", "--legacy-url", legacy_url, "--database-url", database_url, *options])

    return run


def test_the_import_shows_counts_progress_and_sentences(call, legacy_url, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
        legacy.add("geo_models", org_id=ORG, name="chatgqt")
    planned = call("--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "nothing was." in planned.stdout and "partner 1 of 1: Beacon Agency" in planned.stderr
    assert f"skipped: geo_models of {ORG}: 'chatgqt' is no model that can be asked" in planned.stdout
    done = call("--json")
    assert json.loads(done.stdout)["tables"]["question_runs"]["created"] == 2
    assert "Nothing changed. Rows that cannot be taken: 1." in call().stdout
    assert call("--strict").exit_code == 2
    with writing(legacy_url) as legacy:
        legacy.run("DELETE FROM geo_models WHERE name = 'chatgqt'")
    assert "Nothing changed: everything was there." in call().stdout


def test_check_says_which_tables_and_columns_are_missing(call, legacy_url):
    assert call("--check").exit_code == 0
    with writing(legacy_url) as legacy:
        legacy.run("ALTER TABLE geo_questions RENAME question_text TO body")
        legacy.run("ALTER TABLE question_runs RENAME TO runs")
        legacy.run("DROP TABLE schedules")
    checked = call("--check")
    assert checked.exit_code == 1
    assert (
        "lacks question_text (question_text)" in checked.stdout
        and "missing: questions, question_runs" in checked.stdout
    )
    refused = call()
    assert refused.exit_code == 2
    assert (
        "error: The old database lacks question_text (question_text) of geo_questions (questions), question_runs"
        in (refused.stderr)
    )


def test_a_mapping_file_names_what_is_called_otherwise(call, legacy_url, tmp_path, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
        legacy.run("ALTER TABLE geo_questions RENAME question_text TO body")
        legacy.run("CREATE SCHEMA older")
        legacy.run("ALTER TABLE question_runs SET SCHEMA older")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "questions:\n  columns: {question_text: body}\n"
        "question_runs: {table: older.question_runs}\n"
        "schedules: {query: 'SELECT org_id, network_id, (dow + 6) % 7 AS dow FROM schedules'}\n"
        "websites: null\n"
    )
    done = call("--mapping", str(mapping), "--json")
    assert done.exit_code == 0, done.output
    tables = json.loads(done.stdout)["tables"]
    assert tables["question_runs"]["created"] == 2 and "org_websites" not in tables


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("- a", "this is no mapping"),
        ("plans: null", "plans is not known; known are partners"),
        ("orgs: {columns: {colour: colour}}", "orgs: columns are org_id, .*, not colour"),
        ("orgs: {table: orgs, query: SELECT 1}", "orgs: Value error, either table or query is given, not both"),
        ("orgs: 3", "orgs: "),
    ],
)
def test_a_wrong_mapping_file_is_one_sentence(tmp_path, content, complaint):
    path = tmp_path / "mapping.yaml"
    path.write_text(content)
    with pytest.raises(InvalidFile, match=complaint):
        read_mapping(path)


def test_a_wrong_password_is_not_shown(database_url):
    command = [sys.executable, "-m", "visibility.legacy", "import", "--database-url", database_url, "--check"]
    url = "postgresql://someone:hunter2@127.0.0.1:1/old"
    done = subprocess.run(
        [*command, "--legacy-url", url], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: Postgres cannot be reached") and "hunter2" not in done.stderr + done.stdout


def test_a_partner_that_fails_is_one_sentence_and_the_others_go_on(call, legacy_url, database, here):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.add("partners", partner_id="ffffffff-0000-4000-8000-000000000001", name="Zeta", balance=5)
    with database.transaction() as session:
        seed_org(session, partner_name="Beacon Agency", balance=None)
    for options in (("--dry-run",), ()):
        refused = call(*options)
        assert refused.exit_code == 1
        assert "error: partner Beacon Agency" in refused.stderr and "(Beacon Agency) already exists" in refused.stderr
    assert here("SELECT name FROM partners ORDER BY name") == [("Beacon Agency",), ("Zeta",)]
    assert json.loads(call("--json").stdout)["failures"] != []


def test_what_the_database_refuses_of_an_org_is_one_sentence_about_it(call, legacy_url):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.run(
            "UPDATE geo_models SET name = 'chatgpt-' || (SELECT string_agg(md5(CAST(n AS text)), '')"
            " FROM generate_series(1, 400) n) WHERE org_id = :id", id=ORG,
        )  # fmt: skip
    refused = call()
    assert refused.exit_code == 1
    assert "): org Northwind Heating: the database refuses it: index row" in refused.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *, to_char(created_at, 'HH24 :MI') FROM org_evaluation_batches -- all of them",
        "SELECT * FROM org_evaluation_batches WHERE status <> ' :x' AND created_at::date > '2020-01-01';",
    ],
)
def test_a_query_may_have_a_comment_and_colons(call, legacy_url, tmp_path, day, query):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(json.dumps({"org_batches": {"query": query}}))
    done = call("--mapping", str(mapping), "--json")
    assert json.loads(done.stdout)["tables"]["question_runs"]["created"] == 2


def test_a_query_that_cannot_be_run_is_told_with_the_reason(call, tmp_path):
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(json.dumps({"org_batches": {"query": "SELECT * FROM org_evaluation_batches; SELECT 1"}}))
    refused = call("--mapping", str(mapping))
    assert refused.exit_code == 2 and "(org_batches: syntax error at or near" in refused.stderr
    assert 'syntax error at or near ";"' in call("--mapping", str(mapping), "--check").stdout


def test_help_names_every_command_and_exit_status():
    told = CliRunner().invoke(app, ["--help"]).stdout
    assert "give-back" in told and "Exit status: 0 done; 1 a partner could not be imported" in told


def test_the_databases_are_named_without_a_password_and_ours_is_never_a_default(
    legacy_url, database_url, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    bare = CliRunner().invoke(app, ["import"])
    assert (bare.exit_code, bare.stderr[:39]) == (2, "error: LEGACY_DATABASE_URL is not set. ")
    (tmp_path / ".env").write_text(f"LEGACY_DATABASE_URL={legacy_url}\n")
    without = CliRunner().invoke(app, ["import"])
    assert without.exit_code == 2 and "error: DATABASE_URL is not set." in without.stderr
    assert "or --embedded for" in without.stderr
    both = CliRunner().invoke(app, ["import", "--embedded", "--database-url", database_url])
    assert both.exit_code == 2
    given = make_url(database_url).set(password="hunter2")
    done = CliRunner().invoke(app, ["import", "--database-url", given.render_as_string(False)])
    assert f"/{given.database}\n" in done.stderr and "hunter2" not in done.output
    assert done.stderr.startswith("old system: ") and "\nnew system: " in done.stderr
