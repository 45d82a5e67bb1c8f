"""`python -m visibility.legacy import`: what it says, how it leaves, and what an operator can adapt."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.support.legacy import ORG, writing
from tests.support.seed import seed_org
from visibility.errors import InvalidFile
from visibility.legacy.__main__ import app
from visibility.legacy.mapping import read_mapping
from visibility.legacy.values import repaired


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
    assert "Nothing changed: everything was there." in call().stdout
    assert call("--strict").exit_code == 2


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
    done = subprocess.run([*command, "--legacy-url", url], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Postgres cannot be reached") and "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ("CafÃ©", "Café"),
        ("Caf√©", "Café"),
        ("â€œQuotedâ€\x9d", "“Quoted”"),
        ("Café", "Café"),
        ("Ünlü Ã", "Ünlü Ã"),
        ("東京", "東京"),
        ("plain", "plain"),
    ],
)
def test_text_that_was_read_in_a_wrong_coding_is_repaired(stored, meant):
    assert repaired(stored) == meant


def test_a_tenant_of_ours_with_the_same_name_is_one_sentence_and_stays(call, legacy_url, database):
    with writing(legacy_url) as legacy:
        legacy.tenants()
    with database.transaction() as session:
        seed_org(session, partner_name="Beacon Agency", balance=None)
    refused = call()
    assert refused.exit_code == 2
    assert "error: What is here contradicts what comes from the old system" in refused.stderr
    assert "(Beacon Agency) already exists" in refused.stderr
