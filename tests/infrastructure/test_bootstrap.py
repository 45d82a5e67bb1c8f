"""`python -m deployments.bootstrap` at a server of its own: it makes what is missing, once, and says what differs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg2
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.events.schemas.automations import AutomationCore
from prefect.settings.models.flows import FlowsSettings

from deployments.bootstrap.__main__ import main
from deployments.bootstrap.automations import FOLDER, as_core, read_automations
from deployments.local import ensure_prefect_server
from deployments.local.prefect_server import TUNED_SETTINGS
from deployments.local.processes import recorded, stop
from tests.support.pool import REPOSITORY
from tests.support.waiting import PATIENCE
from visibility.errors import ConfigurationError

TABLES = ("work_pool", "concurrency_limit_v2", "block_type", "block_schema", "block_document", "automation")
THINGS = {
    "work pool local", "work pool ecs", "limit brightdata-running-jobs", "limit brightdata-submissions",
    "block type senso-bright-data-credentials", "block type senso-openai-credentials",
    "block type senso-azure-openai-credentials", "block type senso-results-database",
    "block s3-bucket/visibility-results", "block aws-secret/visibility",
    "block slack-incoming-webhook/visibility-alerts", "block custom-webhook/visibility-alerts",
    "block senso-bright-data-credentials/production", "block senso-openai-credentials/production",
    "block senso-results-database/production",
}  # fmt: skip
SECRETS = {"BRIGHTDATA_API_KEY": "a-key-of-bright-data", "OPENAI_API_KEY": "a-key-of-openai",
           "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/a-secret-address"}  # fmt: skip
OUTPUTS = {
    "region": "eu-central-1", "project": "visibility", "environment": "test", "cluster_arn": "arn:aws:ecs:c/flows",
    "cluster_name": "flows", "vpc_id": "vpc-1", "subnet_ids": ["subnet-1"], "security_group_id": "sg-1",
    "assign_public_ip": True, "execution_role_arn": "arn:aws:iam::1:role/e", "flow_role_arn": "arn:aws:iam::1:role/f",
    "image": "visibility:1", "cpu": 1024, "memory": 2048, "cpu_architecture": "ARM64", "launch_type": "FARGATE",
    "flow_log_group": "/flows", "flow_family": "flow", "secret_arn": "arn:aws:secretsmanager:s",
    "secret_keys": ["DATABASE_URL"], "prefect_api_url": "http://prefect.example/api", "results_bucket": "results-1",
    "events_queue_name": "events", "alerts_topic_arn": "arn:aws:sns:a", "worker_service_name": "worker",
}  # fmt: skip


class Command:
    """The command in this process, which has imported Prefect already; secrets of the environment stay unsaid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Return the exit status and what is said."""
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["bootstrap", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def in_a_process(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command as a person does, in a folder without `.env`."""
    done = subprocess.run(
        [sys.executable, "-m", "deployments.bootstrap", *arguments], cwd=folder,
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def states(said: str) -> dict[str, str]:
    """Return the state of each thing by its kind and name."""
    lines = [line for line in said.splitlines() if line.strip()]
    return {line[11:].partition(" (")[0]: line[:11].strip() for line in lines}


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A Prefect server without anything on it: the addresses of its API and of its database."""
    said: list[str] = []
    try:
        api_url = ensure_prefect_server(tmp_path, database_url=database_url, say=said.append)
        assert any("make down" in line for line in said) and not (tmp_path / "postgres").exists()
        yield api_url, beside(database_url)
    finally:
        for record in recorded(tmp_path):
            stop(tmp_path, record)
        drop_beside(database_url)


def assert_tuned(api_url: str) -> None:
    """What local servers are started with has arrived; everything else here runs on one that has it too."""
    server = httpx.get(f"{api_url}/admin/settings", timeout=PATIENCE).raise_for_status().json()["server"]
    assert server["services"]["task_run_recorder"]["read_batch_size"] == 100
    assert server["services"]["event_persister"]["batch_size"] == 100
    assert server["concurrency"]["lease_storage"] == TUNED_SETTINGS["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"]
    assert server["analytics_enabled"] is False


def rows(database: str) -> dict[str, list[str]]:
    """Return everything that a bootstrap could write, with the times of writing."""
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        found = {}
        for table in TABLES:
            cursor.execute(f"SELECT row_to_json(one)::text FROM {table} one ORDER BY id")
            found[table] = [text for (text,) in cursor.fetchall()]
    return found


@pytest.mark.slow
def test_a_server_gets_what_it_lacks_once_and_a_check_names_what_differs(
    bootstrap: Command, server: tuple[str, str], tmp_path: Path, database_url: str
) -> None:
    api_url, database = server
    assert_tuned(api_url)
    assert ensure_prefect_server(tmp_path) == api_url
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({name: {"value": given} for name, given in OUTPUTS.items()}))
    everything = ("--pool", "both", "--terraform-outputs", str(outputs), "--keys-as", "production")
    environment = {**SECRETS, "PREFECT_API_URL": api_url, "DATABASE_URL": database_url}
    empty = rows(database)

    status, checked = bootstrap(*everything, "--check", **environment)
    assert (status, set(states(checked).values()), rows(database)) == (1, {"missing"}, empty)

    status, said = bootstrap(PREFECT_API_URL=api_url)
    assert status == 0 and set(states(said).values()) == {"created", "left out"}
    assert "left out   automation Visibility: a flow run crashed (it only tells people, and no webhook" in said
    assert states(said)["automation Visibility: a flow run is gone"] == "created"

    status, said = bootstrap(*everything, **environment)
    assert (status, set(states(said).values()), set(states(said))) == (
        0,
        {"created", "unchanged"},
        set(states(checked)),
    )
    assert not [secret for secret in SECRETS.values() if secret in said]
    assert (
        {*THINGS, *(f"automation {one['name']}" for one in read_automations())}
        == set(states(said))
        == set(states(checked))
    )
    made = rows(database)

    status, said = bootstrap(*everything, **environment)
    assert (status, set(states(said).values()), rows(database)) == (0, {"unchanged"}, made)

    with SyncPrefectClient(api_url) as client:
        twin = client.read_automations()[0]
        client.create_automation(AutomationCore(**as_core(twin)))  # as two bootstraps at once may
    status, said = bootstrap(*everything, **environment)
    assert (status, set(states(said).values())) == (0, {"unchanged"})
    assert len(rows(database)["automation"]) == len(made["automation"]), "everything would be told twice"

    with SyncPrefectClient(api_url) as client:
        client.update_work_pool("ecs", WorkPoolUpdate(base_job_template={}))
        client.upsert_global_concurrency_limit_by_name("brightdata-running-jobs", 1)
        gone, quiet, *_ = sorted(client.read_automations(), key=lambda one: one.name)
        client.delete_automation(gone.id)
        client.pause_automation(quiet.id)
    disturbed = rows(database)
    changed = {**environment, "OPENAI_API_KEY": "a-new-key"}
    status, said = bootstrap(*everything, "--check", **changed)
    assert (status, rows(database)) == (1, disturbed)
    assert {thing: state for thing, state in states(said).items() if state != "unchanged"} == {
        "work pool ecs": "different",
        "limit brightdata-running-jobs": "different",
        "block senso-openai-credentials/production": "different",
        f"automation {gone.name}": "missing",
        f"automation {quiet.name}": "different",
    }
    status, said = bootstrap(*everything, **changed)
    assert (status, sorted(set(states(said).values()))) == (0, ["created", "unchanged", "updated"])
    status, checked = bootstrap(*everything, "--check", **changed)
    assert status == 0, checked


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ((), {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "http://127.0.0.1:9/api (PREFECT_API_URL) does not answer"),
        (("--check",), {}, "PREFECT_API_URL is not set and no local Prefect server runs"),
        (("--terraform-outputs", "/no/such/file"), {}, "/no/such/file"),
        (("--pool", "ecs"), {"VISIBILITY_AWS_REGION": "eu-central-1"}, "missing in the environment"),
    ],
)
def test_a_wrong_input_is_one_sentence(
    bootstrap: Command, arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    status, said = bootstrap(*arguments, **environment)
    assert status == 2 and sentence in said and len(said.splitlines()) == 1


def test_a_password_that_the_worker_would_write_into_every_task_is_refused(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(OUTPUTS))
    status, said = in_a_process(
        tmp_path, "--terraform-outputs", str(outputs), PREFECT_API_AUTH_STRING="admin:word",
        PREFECT_API_URL="http://127.0.0.1:9/api",
    )  # fmt: skip
    assert status == 2 and "set Terraform's prefect_auth_string_key" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("  within: 300", "  withn: 300", "trigger.withn is no field of one"),
        ("actions:", "colour: red\nactions:", "colour is no field of one"),
        ("    state: CRASHED", "    state: CRUSHED", "state: Input should be"),
        ("change-flow-run-state", "change-flow-runs-state", "actions.0 is of no kind that Prefect knows"),
        ("trigger:", "trigger: [", "is not YAML"),
    ],
)
def test_a_file_that_is_no_automation_is_named_with_what_is_wrong(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    content = (FOLDER / "zombie-runs.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(content.replace(before, after, 1))
    with pytest.raises(ConfigurationError, match=f"mine.yaml.*{sentence}"):
        read_automations(tmp_path)


def test_a_run_is_taken_for_dead_later_than_prefects_slowest_heartbeat_and_a_restart_of_the_server() -> None:
    (gone,) = [one for one in read_automations() if one["name"] == "Visibility: a flow run is gone"]
    assert gone["trigger"]["within"] >= FlowsSettings.model_fields["heartbeat_frequency"].default + 120


def test_every_flow_that_is_deployed_is_watched_for_running_too_long() -> None:
    deployed = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
    related = [one["trigger"].get("match_related") for one in read_automations()]
    watched = [name for labels in related if isinstance(labels, list) for name in labels[1]["prefect.resource.name"]]
    assert sorted(watched) == sorted({one["name"] for one in deployed} | {"visibility-report"})


def test_every_runbook_that_an_automation_names_exists() -> None:
    text = "".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    named = set(re.findall(r"[Rr]unbook `([a-z-]+)`", text))
    assert named and [name for name in named if not (REPOSITORY / f"docs/runbooks/{name}.md").exists()] == []


def beside(database_url: str) -> str:
    """Return the address of the database that the server makes for itself."""
    parts = urlsplit("postgresql://" + database_url.partition("://")[2])
    return urlunsplit(parts._replace(path=f"{parts.path}_prefect"))


def drop_beside(database_url: str) -> None:
    with closing(psycopg2.connect("postgresql://" + database_url.partition("://")[2])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{connection.info.dbname}_prefect" WITH (FORCE)')
