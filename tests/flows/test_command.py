"""The command: one sentence for everything that can be wrong, one document for programs, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from deployments.local.processes import WITH_DEFAULT_SIGNALS
from flows.org_command import evaluate_org
from sandbox.server import RunningSandbox
from tests.support.command import (
    REPOSITORY,
    Command,
    Ended,
    assert_refused,
    command_of,
    simulated_command,
    subprocess_environment,
)
from tests.support.waiting import PATIENCE, eventually
from visibility.store.database import Database

NORTHWIND = REPOSITORY / "examples" / "northwind-heating.yaml"
DAY = "2026-11-23"
TENANT = """
partner: {{name: Beacon Agency{pricing}}}
orgs:
  - name: Northwind Heating
    models: {models}
    questions: {questions}
    locations: [{location}]
    balance: {balance}
"""
TABLES = ("orgs", "evaluation_batches", "question_runs", "credit_holds", "provider_jobs")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return command_of(evaluate_org, monkeypatch, tmp_path)


@pytest.fixture
def simulated(
    command: Command, monkeypatch: pytest.MonkeyPatch, database_url: str, prefect_api: str, sandbox: RunningSandbox
) -> Command:
    return simulated_command(command, monkeypatch, database_url, prefect_api, sandbox.url)


@pytest.fixture
def tenant(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: str) -> Path:
        values = {"pricing": "", "models": "[chatgpt]", "questions": "['Who repairs boilers?']", "location": "US",
                  "balance": "5", **changes}  # fmt: skip
        path = tmp_path / "tenant.yaml"
        path.write_text(TENANT.format(**values))
        return path

    return write


def rows(database: Database) -> dict[str, int]:
    with database.transaction() as session:
        return {table: session.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in TABLES}


NOTHING = dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--org-file", "--org-id"]),
        (["--org-id", "12"], ["--org-id", "'12' is not a valid UUID"]),
        (["--org-file", "x.yaml", "--run-date", "tomorrow"], ["'tomorrow' is not a date such as 2026-11-23"]),
        (["--org-file", "x.yaml", "--run-date", "2199-01-01"], ["2199-01-01", "more than a year ahead"]),
        (["--org-file", "x.yaml", "--sandbox-url", "http://127.0.0.1:1"], ["--sandbox-url needs --sandbox"]),
        (["--org-file", "x.yaml", "--sandbox", "--time-scale", "0"], ["--time-scale"]),
        (["--org-file", "x.yaml", "--sandbox", "--sandbox-url", "http://127.0.0.1:1"], ["No sandbox answers at"]),
        (["--org-file", "x.yaml", "--sandbox", "--sandbox-url", "nonsense"], ["No sandbox answers at nonsense"]),
        (["--org-file", "/no/such.yaml", "--sandbox"], ["There is no file /no/such.yaml"]),
        (["--org-file", "/tmp", "--sandbox"], ["/tmp is a folder"]),
    ],
)
def test_a_wrong_option_is_one_sentence_and_starts_nothing(
    command: Command, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    assert_refused(command(*arguments), *words)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, ["BRIGHTDATA_API_KEY and OPENAI_API_KEY", "--sandbox"]),
        ({"OPENAI_API_KEY": "key"}, ["BRIGHTDATA_API_KEY is not set", "--sandbox"]),
        ({"BRIGHTDATA_API_KEY": "key", "OPENAI_API_KEY": ""}, ["OPENAI_API_KEY"]),
        ({"BRIGHTDATA_API_KEY": "key", "AZURE_OPENAI_ENDPOINT": "https://x"}, ["partly", "AZURE_OPENAI_DEPLOYMENT"]),
        ({"BRIGHTDATA_API_KEY": "k", "OPENAI_API_KEY": "k", "EVALUATION_MODEL": "gpt-9"}, ["'gpt-9' is not known"]),
        ({"COVERAGE_THRESHOLD": "7"}, ["COVERAGE_THRESHOLD", "'7'"]),
        ({"BRIGHTDATA_POLL_SECONDS": "abc"}, ["BRIGHTDATA_POLL_SECONDS", "'abc'"]),
    ],
)
def test_a_wrong_or_missing_setting_is_named_and_nothing_is_started(
    command: Command, tmp_path: Path, environment: Mapping[str, str], words: list[str]
) -> None:
    assert_refused(command("--org-file", NORTHWIND, **environment), *words)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://user:secret-word@127.0.0.1:1/x", "Postgres cannot be reached"),
        ("mysql://user:secret-word@127.0.0.1/x", "DATABASE_URL is not a Postgres URL"),
        ("not a url", "DATABASE_URL is not a Postgres URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_without_its_password(
    command: Command, url: str, word: str
) -> None:
    ended = command("--org-file", NORTHWIND, "--sandbox", DATABASE_URL=url)
    assert_refused(ended, word)
    assert "secret-word" not in ended.errors


def test_a_missing_database_is_named(command: Command, database_url: str) -> None:
    missing = make_url(database_url).set(database="nowhere").render_as_string(hide_password=False)
    assert_refused(command("--org-file", NORTHWIND, "--sandbox", DATABASE_URL=missing), '"nowhere" does not exist')


def test_an_older_schema_and_a_foreign_one_are_refused_unaltered(
    command: Command, database: Database, database_url: str
) -> None:
    for revision, words in (("0001", ["revision 0001", "migrate"]), ("d4a7e1c9", ["not of this product"])):
        with database.transaction() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        assert_refused(command("--org-file", NORTHWIND, "--sandbox", DATABASE_URL=database_url), *words)
        assert rows(database) == NOTHING


@pytest.mark.parametrize("place", ["file", "proc"])
def test_a_data_folder_that_cannot_be_written_is_named_with_the_way_out(
    command: Command, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    folder = {"file": str(tmp_path / "file" / "data"), "proc": "/proc/x"}[place]
    ended = command("--org-file", NORTHWIND, "--sandbox", VISIBILITY_DATA_FOLDER=folder)
    assert_refused(ended, folder, "cannot be written", "VISIBILITY_DATA_FOLDER")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": "[chatgtp]"}, [":5: orgs[0].models[0]", "did you mean 'chatgpt'?"]),
        ({"location": "XX"}, [":7: orgs[0].locations[0]", "XX"]),
        ({"pricing": ", pricing: {margin_pct: 1.5}"}, [":2: partner.pricing.margin_pct", "1.5"]),
        ({"questions": "[unclosed"}, ["not valid YAML"]),
        ({"balance": "5\n    ballance: 5"}, [":9: orgs[0].ballance", "did you mean 'balance'?"]),
        ({"balance": "5\n  - name: Second"}, ["2 organisations", "--org-id", "(Northwind Heating)", "(Second)"]),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_field_and_loads_nothing(
    simulated: Command, database: Database, tenant: Callable[..., Path], changes: dict[str, str], words: list[str]
) -> None:
    assert_refused(simulated("--org-file", tenant(**changes)), *words)
    assert rows(database) == NOTHING


def test_an_empty_file_and_unknown_orgs_load_nothing(
    simulated: Command, database: Database, tmp_path: Path, tenant: Callable[..., Path]
) -> None:
    unknown = "00000000-0000-0000-0000-000000000001"
    (tmp_path / "empty.yaml").touch()
    assert_refused(simulated("--org-file", tmp_path / "empty.yaml"), "empty.yaml is empty")
    assert_refused(simulated("--org-id", unknown), f"There is no organisation {unknown}")
    assert_refused(simulated("--org-file", tenant(), "--org-id", unknown), f"holds no organisation {unknown}")
    assert rows(database) == NOTHING


def test_a_url_that_is_no_sandbox_is_told_from_one_that_is_silent(
    simulated: Command, database: Database, tenant: Callable[..., Path], prefect_api: str
) -> None:
    ended = simulated("--org-file", tenant(), "--sandbox-url", prefect_api.removesuffix("/api"))
    assert_refused(ended, "is no sandbox")
    assert rows(database)["evaluation_batches"] == 0


@pytest.mark.parametrize("changes", [{"questions": "[]"}, {"models": "[]"}])
def test_an_org_without_questions_or_models_completes_with_nothing_expected(
    simulated: Command, tenant: Callable[..., Path], changes: dict[str, str]
) -> None:
    ended = simulated("--org-file", tenant(**changes), "--json")
    assert ended.status == 0
    result = json.loads(ended.output)
    assert (result["status"], result["expected"], result["charges"]) == ("completed", 0, 0)


def test_a_balance_that_is_too_low_fails_the_batch_and_asks_nothing(
    simulated: Command, database: Database, sandbox: RunningSandbox, tenant: Callable[..., Path]
) -> None:
    ended = simulated("--org-file", tenant(balance="0.01"), "--json")
    assert ended.status == 1 and "Traceback" not in ended.errors
    for word in ("Error: ORG", "0.010000 USD", "0.050000 USD", "Top up the balance"):
        assert word in ended.sentence
    assert json.loads(ended.output)["error"]["code"] == "insufficient_credits"
    assert rows(database)["credit_holds"] == 0 and sandbox.accounting()["totals"]["records_sold"] == 0


def test_a_person_sees_the_result_and_few_lines_of_progress(simulated: Command, tenant: Callable[..., Path]) -> None:
    ended = simulated("--org-file", tenant(), "--run-date", DAY)
    assert ended.status == 0
    for word in ("SIMULATED", "coverage 100% (1 of 1 answers)", "mention rate", "charged", "Prefect UI: http", "rows:"):
        assert word in ended.output
    progress = ended.errors.splitlines()
    assert len(progress) <= 8 and sum("View at" in line for line in progress) == 1
    assert "Finished in state" not in ended.errors and "1 of 1 answered" in ended.errors


def test_a_failed_batch_is_one_json_document_and_exit_status_1(
    simulated: Command, sandbox: RunningSandbox, tenant: Callable[..., Path]
) -> None:
    ended = simulated("--org-file", tenant(models="[claude]"), "--json")
    result = json.loads(ended.output)
    assert ended.status == 1 and result["status"] == "failed"
    assert ended.sentence == f"Error: {result['reason']}"
    assert "provider_not_configured" in result["reason"]


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("fault", ["job_failed", "quota_gone", "llm_refusal"])
def test_a_vendor_that_fails_everything_is_exit_status_1_and_one_sentence(
    simulated: Command, sandbox: RunningSandbox, tenant: Callable[..., Path], fault: str, options: list[str]
) -> None:
    sandbox.set_faults({fault: 1})
    ended = simulated("--org-file", tenant(models="[chatgpt, gemini]"), *options)
    assert ended.status == 1 and ended.sentence.startswith("Error: ")
    assert "Traceback" not in ended.output + ended.errors
    if options:
        assert json.loads(ended.output)["status"] == "failed"


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if "health" in self.path else 401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be quiet."""


@pytest.fixture
def refusing_api() -> Iterator[str]:
    """A Prefect API that is healthy and refuses everybody."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_a_prefect_api_that_refuses_is_one_sentence(
    simulated: Command, database: Database, tenant: Callable[..., Path], refusing_api: str
) -> None:
    ended = simulated("--org-file", tenant(), PREFECT_API_URL=refusing_api)
    assert ended.status == 1 and "Traceback" not in ended.errors
    assert ended.sentence.startswith(f"Error: The Prefect API {refusing_api} cannot be used")
    assert rows(database)["evaluation_batches"] == 0


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("org_evaluation", ["--org-file", "--org-id", "--triggered-by", "--user-id", "--run-date"]),
        ("network_questions", ["--network-file", "--network-id", "--triggered-by", "--run-date", "--spawn"]),
        ("network_org_missing", ["--org-id", "--network-id", "--since", "--triggered-by"]),
        ("org_reevaluation", ["--org-id", "--since", "--until"]),
        ("network_reevaluation", ["--network-id", "--since", "--until"]),
    ],
)
def test_help_is_there_in_a_moment_and_imports_no_prefect(module: str, options: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", f"flows.{module}", "--help"]
    began = time.monotonic()
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=subprocess_environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0 and time.monotonic() - began < 10  # 0.3 s on an idle machine
    assert [option for option in (*options, "--sandbox", "--json") if option not in ended.stdout] == []
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not imported & {"prefect", "pandas", "sqlalchemy", "openai", "alembic", "boto3", "redis", "rich"}


def test_without_keys_the_real_command_answers_quickly_and_starts_nothing(tmp_path: Path) -> None:
    environment = subprocess_environment(VISIBILITY_DATA_FOLDER=str(tmp_path / "data"))
    command = [sys.executable, "-m", "flows.org_evaluation", "--org-file", str(NORTHWIND)]
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert_refused(Ended(ended.returncode, ended.stdout, ended.stderr), "BRIGHTDATA_API_KEY", "--sandbox")
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_after_ctrl_c_the_same_command_continues(
    database: Database, database_url: str, prefect_api: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    sandbox.set_faults(script=[{"on": "trigger", "nth": 1, "times": 10**6, "fault": "job_never_ready"}])
    environment = subprocess_environment(
        DATABASE_URL=database_url, PREFECT_API_URL=prefect_api, SANDBOX_URL=sandbox.url,
        PREFECT_LOCAL_STORAGE_PATH=str(tmp_path / "results"),
    )  # fmt: skip
    # with signals as at a terminal: a shell that runs the suite in the background has SIGINT ignored
    command = [
        *(sys.executable, "-c", WITH_DEFAULT_SIGNALS),
        *(sys.executable, "-m", "flows.org_evaluation", "--org-file", str(NORTHWIND), "--sandbox"),
        *("--time-scale", "60", "--run-date", DAY, "--json"),
    ]
    options: dict[str, Any] = {"cwd": REPOSITORY, "env": environment, "text": True}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    eventually(lambda: rows(database)["provider_jobs"] > 0 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and output == ""
    assert errors.splitlines()[-1].startswith("Stopped.") and "Traceback" not in errors and "ERROR" not in errors
    with database.transaction() as session:
        status, owner = session.execute(text("SELECT status, lease_owner FROM evaluation_batches")).one()
    assert (status, owner) == ("failed", None)

    sandbox.set_faults()
    for job in sandbox.state.jobs.by_id.values():
        job.faults = frozenset()
    again = subprocess.run(command, capture_output=True, timeout=PATIENCE, **options)
    result = json.loads(again.stdout)
    assert (again.returncode, result["status"], result["answered"], result["charges"]) == (0, "completed", 60, 60)


def test_a_taken_port_is_told_in_one_sentence_by_the_sandbox() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "sandbox", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(
            command, cwd=REPOSITORY, env=subprocess_environment(), capture_output=True, text=True, timeout=PATIENCE
        )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
