"""`make up` as production on one machine, operated by Prefect's own command line and API as a person does."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import ArtifactSort

from deployments.bootstrap.documents import TYPES
from deployments.local.prefect_server import DEFAULT_PORT
from deployments.local.processes import recorded, stop
from tests.support.browser import chromium, missing_on
from tests.support.end_state import execute, rows, value
from tests.support.pool import REPOSITORY, prefect_command
from tests.support.waiting import eventually
from visibility.store import embedded
from visibility.store.database import Database

DEPLOYMENT = "org-evaluation/org-evaluation"
DEPLOYMENTS_ON_A_PAGE = 10
ORG = """
partner: {name: Beacon Agency}
orgs:
  - name: Northwind Heating
    balance: 0.01
    websites: [https://northwindheating.example]
    models: [chatgpt]
    locations: [US, CA]
    questions: ["Who repairs furnaces at night?"]
"""


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """In the run's folder: pytest closes its own temporary folder to the user whom Postgres runs as."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["TEST_RUN_FOLDER"]))
    folder.chmod(0o755)
    yield folder
    for record in recorded(folder):
        stop(folder, record)
    embedded.stop(folder)
    shutil.rmtree(folder)


@contextmanager
def port_taken(port: int) -> Iterator[None]:
    """Hold the port, unless somebody else does already."""
    try:
        holder: AbstractContextManager[Any] = socket.create_server(("127.0.0.1", port))
    except OSError:
        holder = nullcontext()
    with holder:
        yield


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on an idle machine; starting alone takes two where everything else is tested too
def test_a_person_runs_retries_cancels_and_schedules_on_what_make_up_has_started(
    data_folder: Path, tmp_path: Path, subtests: pytest.Subtests
):
    up = Installation(data_folder)
    with port_taken(DEFAULT_PORT):
        first = up.module("deployments.local", "up", "--sandbox")
    assert f"Port {DEFAULT_PORT} is taken; the Prefect server uses" in first
    assert "Prefect UI  http://127.0.0.1:" in first and "SIMULATED" in first and "Set up the Prefect server" in first
    started = {record.name: record.pid for record in recorded(data_folder)}
    assert set(started) == {"prefect-server", "sandbox", "worker"}
    assert "Set up" not in up.module("deployments.local", "up", "--sandbox"), "the second time nothing is to be done"
    assert {record.name: record.pid for record in recorded(data_folder)} == started
    assert up.module("deployments.local", "status").count("running, pid") == 3

    up.prefect("deploy", "--all")
    with SyncPrefectClient(up.api_url) as client:
        operated(Operator(up, client, Database(embedded.url(data_folder))), tmp_path, subtests)

    stopped = up.module("deployments.local", "down")
    assert all(name in stopped for name in (*started, "postgres"))
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in started.values())


def operated(person: Operator, folder: Path, subtests: pytest.Subtests) -> None:
    try:
        schedule = person.schedules_every_minute("load-report/load-report")
        org_id = person.loads(folder / "org.yaml")
        run_id = person.runs_and_retries(org_id)
        with subtests.test("the Prefect UI shows the run, its figures, the deployments and the block types"):
            person.looks(run_id)
        person.cancels(org_id)
        person.sees_the_run_of_the_schedule("load-report/load-report")
        person.pauses_and_resumes("load-report/load-report", schedule)
    finally:
        person.database.close()


class Installation:
    """Commands of a person beside one `make up`."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder
        # a job that never ends is waited for until the person cancels, however slow the machine: 200 s in the sandbox
        own = {"VISIBILITY_DATA_FOLDER": str(data_folder), "BRIGHTDATA_DEADLINE_SECONDS": "12000"}
        own["PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS"] = "5"  # a resumed schedule waits for it: 60 by itself
        self._environment = {**os.environ, **own}

    @property
    def api_url(self) -> str:
        return f"{self.url('prefect-server')}/api"

    def url(self, name: str) -> str:
        return str(next(record.url for record in recorded(self._folder) if record.name == name))

    def module(self, *arguments: str) -> str:
        return self._run([sys.executable, "-m", *arguments], self._environment)

    def prefect(self, *arguments: str, status: int = 0) -> str:
        environment = self._environment | {"PREFECT_API_URL": self.api_url, "COLUMNS": "200"}
        return self._run(prefect_command(*arguments), environment, status)

    def _run(self, command: list[str], environment: dict[str, str], status: int = 0) -> str:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


class Operator:
    """What a person does with the deployments, and sees."""

    def __init__(self, up: Installation, client: SyncPrefectClient, database: Database) -> None:
        self.up, self.client, self.database = up, client, database

    def loads(self, file: Path) -> UUID:
        file.write_text(ORG)
        self.up.module("visibility.store.load", str(file))
        return UUID(str(value(self.database, "SELECT org_id FROM orgs")))

    def runs_and_retries(self, org_id: UUID) -> UUID:
        """A run with parameters fails for want of money; topped up, its retry does what is missing."""
        said = self.up.prefect(
            "deployment", "run", DEPLOYMENT, "--param", f"org_id={org_id}", "--param", "triggered_by=ana", "--watch",
            status=1,
        )  # fmt: skip
        run = self.client.read_flow_run(self._id_in(said))
        assert run.state is not None and run.state.type is StateType.FAILED
        assert "needs 0.100000 USD" in str(run.state.message) or "not enough credits" in str(run.state.message).lower()
        assert run.parameters == {"org_id": str(org_id), "triggered_by": "ana", "user_id": None, "run_date": None}
        self._top_up(org_id)
        self.up.prefect("flow-run", "retry", str(run.id))
        self._ends(run.id, StateType.COMPLETED)
        assert value(self.database, "SELECT count(*) FROM question_runs WHERE status = 'answered'") == 2
        assert value(self.database, "SELECT triggered_by FROM evaluation_batches") == "ana"
        return run.id

    def looks(self, run_id: UUID) -> None:
        """What a person reads in the browser: nothing of it is known to the API alone."""
        browser = chromium()
        if browser is None:
            pytest.skip("no Chromium is installed: what the Prefect UI shows is not looked at")
        [artifact] = self.client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["org-evaluation-summary"]),
                                           flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])),
            sort=ArtifactSort.CREATED_DESC, limit=1,
        )  # fmt: skip
        deployments = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
        pages = {
            f"runs/flow-run/{run_id}": {self.client.read_flow_run(run_id).name, "Completed", "Artifacts"},
            f"artifacts/artifact/{artifact.id}": {
                "Northwind Heating",
                "coverage 100% (2 of 2 answers)",
                "mention rate",
            },
            "deployments": {
                *sorted(str(one["name"]) for one in deployments)[:DEPLOYMENTS_ON_A_PAGE],
                "At 02:00 AM every day",
                "Every minute",
            },
            "blocks/catalog": {f"{one._block_type_name} {one.get_description()}" for one in TYPES},
        }
        if "CHAOS_ROUNDS" not in os.environ:  # ten seconds of CPU each
            pages = {page: expected for page, expected in pages.items() if page.startswith(("runs", "blocks"))}
        url = self.up.url("prefect-server")
        assert {page: missing_on(browser, f"{url}/{page}", expected) for page, expected in pages.items()} == {
            page: set() for page in pages
        }

    def cancels(self, org_id: UUID) -> None:
        """A run is cancelled while the vendor works: the batch says so, nothing stays held."""
        never = {"script": [{"on": "trigger", "nth": 1, "fault": "job_never_ready"}]}
        httpx.post(f"{self.up.url('sandbox')}/_faults", json=never).raise_for_status()
        said = self.up.prefect(
            "deployment", "run", DEPLOYMENT, "--param", f"org_id={org_id}", "--param", "run_date=2026-01-05"
        )
        run_id = self._id_in(said)
        submitted = "SELECT count(*) FROM provider_jobs WHERE status = 'submitted'"
        eventually(lambda: value(self.database, submitted) == 1)
        self.up.prefect("flow-run", "cancel", str(run_id))
        self._ends(run_id, StateType.CANCELLED)
        of_day = "SELECT status, error, lease_owner FROM evaluation_batches WHERE run_date = '2026-01-05'"
        [(status, error, lease)] = rows(self.database, of_day)
        assert status == "failed" and "cancelled" in error and lease is None
        assert value(self.database, "SELECT count(*) FROM credit_holds WHERE status = 'active'") == 0

    def schedules_every_minute(self, deployment: str) -> UUID:
        found = self.client.read_deployment_by_name(deployment)
        every_minute = CronSchedule(cron="* * * * *", timezone="UTC")
        [created] = self.client.create_deployment_schedules(found.id, [(every_minute, True)])
        return created.id

    def sees_the_run_of_the_schedule(self, deployment: str) -> None:
        eventually(lambda: any(run.auto_scheduled for run in self._runs(deployment, StateType.COMPLETED)))

    def pauses_and_resumes(self, deployment: str, schedule_id: UUID) -> None:
        self.up.prefect("deployment", "schedule", "pause", deployment, str(schedule_id))
        eventually(lambda: not self._runs(deployment, StateType.SCHEDULED))
        self.up.prefect("deployment", "schedule", "resume", deployment, str(schedule_id))
        eventually(lambda: bool(self._runs(deployment, StateType.SCHEDULED)))
        found = self.client.read_deployment_by_name(deployment)
        assert [one.active for one in found.schedules if one.id == schedule_id] == [True]

    def _top_up(self, org_id: UUID) -> None:
        execute(self.database, "INSERT INTO credit_top_ups (payer_type, payer_id, amount, note) "
                "VALUES ('ORG', :org_id, 5, 'invoice 4711')", org_id=org_id)  # fmt: skip
        execute(self.database, "UPDATE credit_balances SET current_balance = current_balance + 5 "
                "WHERE payer_id = :org_id", org_id=org_id)  # fmt: skip

    def _runs(self, deployment: str, state: StateType) -> list[FlowRun]:
        found = self.client.read_deployment_by_name(deployment)
        of_deployment = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))
        runs = self.client.read_flow_runs(flow_run_filter=of_deployment)
        return [run for run in runs if run.state_type is state]

    def _ends(self, run_id: UUID, state: StateType) -> None:
        eventually(lambda: self._state(run_id) is state)

    def _state(self, run_id: UUID) -> Any:
        [run] = self.client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
        return run.state_type

    @staticmethod
    def _id_in(said: str) -> UUID:
        found = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", said)
        assert found, said
        return UUID(found[0])
