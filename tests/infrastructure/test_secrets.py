"""Flow runs with keys from AWS on two hosts: a key is revoked and rotated, and no secret is to be found anywhere."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_DEFAULT_RESULT_STORAGE_BLOCK, PREFECT_HOME, temporary_settings
from sqlalchemy.engine import URL, make_url

from blocks.aws import results_block, secret_block
from deployments.local import sandbox_environment
from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox, serve_in_thread
from tests.support import postgres
from tests.support.gate import Gate, gate_before
from tests.support.moto_server import REGION, SECRET_KEY, Moto
from tests.support.pool import deploy_flow, pool_name, serving
from tests.support.prefect_rows import rows_since, wait_for_last_event
from tests.support.secrets import assert_nothing_secret
from tests.support.seed import QUESTIONS, seed_org
from tests.support.slack import save_webhook
from tests.support.waiting import PATIENCE
from visibility.settings import Settings
from visibility.store.database import Database

OLD_KEY, NEW_KEY = "bd-live-7f3a/91c0+old", "bd-live-c2d4/55e1+new"
LLM_KEY = "sk-live-5be2/d8aa+reader"
PASSWORD = "p4ss/w0rd+of-analytics"
SLACK_TOKEN = "T0FLOW/B0ALERT/x7w9slacktoken"
SECRETS = (OLD_KEY, NEW_KEY, LLM_KEY, PASSWORD, SLACK_TOKEN, SECRET_KEY)


def with_password(url: str) -> str:
    """Return the URL with a password that the test's own server does not ask for; a given server's stays."""
    parsed = make_url(url)
    password = parsed.password or PASSWORD
    return parsed.set(drivername="postgresql", password=password).render_as_string(hide_password=False)


@dataclass(frozen=True)
class Story:
    """What is left of a run with a revoked key, and of one after its rotation, on a worker that was there before."""

    first: FlowRun
    second: FlowRun
    gate: Gate
    vendors: RunningSandbox
    moto: Moto
    bucket: str
    folder: Path
    started: datetime
    database_url: str


@pytest.fixture(scope="module")
def story(
    prefect_api: str, moto_server: Moto, database_template: tuple[URL, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    folder, started = tmp_path_factory.mktemp("secrets"), datetime.now(UTC)
    with ExitStack() as stack:
        vendors = stack.enter_context(serve_in_thread(latency=False))
        gate = stack.enter_context(gate_before(vendors.url))
        database_url = stack.enter_context(postgres.clone(*database_template))
        stack.enter_context(temporary_settings({PREFECT_API_URL: prefect_api}))
        deployed = Deployed(moto_server, gate, with_password(database_url), folder, pool_name())
        environment = asyncio.run(deployed.prepare()) | {"PREFECT_API_URL": prefect_api}
        org_id = seeded(database_url, vendors)
        gate.revoked.add(OLD_KEY)
        with serving(deployed.name, environment, folder / "worker.log"):
            first = asyncio.run(deployed.run_here(org_id, environment))
            deployed.put(NEW_KEY)
            second = asyncio.run(deployed.run_on_the_worker(org_id))
        for run in (first, second):
            wait_for_last_event(run.id)
        yield Story(first, second, gate, vendors, moto_server, deployed.name, folder, started, database_url)


@dataclass(frozen=True)
class Deployed:
    """A deployment on a pool; secret, bucket and their documents have the pool's name."""

    moto: Moto
    gate: Gate
    database_url: str
    folder: Path
    name: str

    async def prepare(self) -> dict[str, str]:
        """Make everything but the worker; return the worker's environment, in which there is no key of ours."""
        self.moto.client("secretsmanager").create_secret(Name=f"senso/{self.name}")
        self.moto.client("s3").create_bucket(Bucket=self.name)
        self.put(OLD_KEY)
        await secret_block(f"senso/{self.name}", REGION).save(self.name)
        await results_block(self.name, REGION).save(self.name)
        await deploy_flow(org_evaluation, self.name)
        simulated = sandbox_environment(Settings(), self.gate.url, 200)
        return {
            **os.environ,
            **{name: value for name, value in simulated.items() if name not in ("VISIBILITY_SANDBOX", "SHARDS")},
            **self.moto.environment,
            "VISIBILITY_SECRET_BLOCK": self.name,
            "VISIBILITY_DATA_FOLDER": str(self.folder / "data"),
            "SLACK_WEBHOOK_BLOCK": await save_webhook(f"{self.gate.url}/slack/{SLACK_TOKEN}"),
            "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": f"s3-bucket/{self.name}",
            "PREFECT_WORKER_QUERY_SECONDS": "0.5",
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
        }

    def put(self, key: str) -> None:
        """Put a new value into the secret, as a person who rotates a key does."""
        held = {"BRIGHTDATA_API_KEY": key, "OPENAI_API_KEY": LLM_KEY, "DATABASE_URL": self.database_url}
        self.moto.client("secretsmanager").put_secret_value(
            SecretId=f"senso/{self.name}", SecretString=json.dumps(held)
        )

    async def run_here(self, org_id: UUID, environment: Mapping[str, str]) -> FlowRun:
        """Run the flow in this process, which stands for a host with a Prefect home of its own."""
        homes: dict[Any, Any] = {
            PREFECT_HOME: str(self.folder / "host-1"),
            PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: environment["PREFECT_DEFAULT_RESULT_STORAGE_BLOCK"],
        }
        with pytest.MonkeyPatch.context() as patch, temporary_settings(homes):
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.delenv("PREFECT_LOGGING_ROOT_LEVEL")
            state = await org_evaluation(org_id, return_state=True)
        async with get_client() as client:
            return await client.read_flow_run(state.state_details.flow_run_id)

    async def run_on_the_worker(self, org_id: UUID) -> FlowRun:
        """Run the deployment on the worker, in a process with another Prefect home."""
        async with get_client() as client:
            deployment = await client.read_deployment_by_name(f"org-evaluation/{self.name}")
            variables = {"env": {"PREFECT_HOME": str(self.folder / "host-2")}}
            run = await client.create_flow_run_from_deployment(
                deployment.id, parameters={"org_id": str(org_id)}, job_variables=variables
            )
            async with asyncio.timeout(PATIENCE):
                while run.state is None or not run.state.is_final():
                    await asyncio.sleep(0.2)
                    run = await client.read_flow_run(run.id)
        return run


def seeded(database_url: str, vendors: RunningSandbox) -> UUID:
    websites = ("https://northwindheating.example",)
    vendors.learn({"name": "Northwind Heating", "websites": list(websites), "questions": list(QUESTIONS)})
    database = Database(database_url)
    try:
        with database.transaction() as session:
            return seed_org(session, websites=websites, questions=1, locations=(("US", None, None),))
    finally:
        database.close()


def test_a_revoked_key_fails_a_run_and_after_its_rotation_the_same_worker_runs_with_the_new(
    story: Story,
) -> None:
    assert story.first.state and story.first.state.is_failed(), story.first.state
    assert "provider_refused" in (story.first.state.message or "")
    assert story.second.state and story.second.state.is_completed(), story.second.state
    used = [key for key in story.gate.keys if key != LLM_KEY]
    assert set(used) == {OLD_KEY, NEW_KEY} and LLM_KEY in story.gate.keys, "each was really used"
    assert OLD_KEY not in used[used.index(NEW_KEY) :], "the revoked one not any more"


def test_names_that_one_host_has_asked_for_are_found_by_another(story: Story) -> None:
    assert story.vendors.accounting()["llm"]["purposes"]["names"] == 1
    kept = [key for key in story.moto.objects(story.bucket) if "name-variations" in key]
    assert len(kept) == 1 and kept[0].startswith("results/")
    assert list(story.folder.glob("host-*/storage/*")) == [], "nothing is kept on a host alone"


def test_flows_call_nothing_of_aws_but_to_read_the_secret_and_to_keep_results(story: Story) -> None:
    made = {call.partition(f"/{story.bucket}/results/")[0] for call in story.moto.calls}
    assert made == {"GetSecretValue", "HEAD ", "GET ", "PUT "}, "s3:GetObject and s3:PutObject under results/"


def test_nothing_secret_is_in_prefects_database_logs_results_or_folders(story: Story) -> None:
    texts: dict[str, str | bytes] = dict(rows_since(story.started))
    assert str(story.first.id) in texts["flow_run"] and "refuses the account" in texts["log"]
    assert texts["artifact"] and texts["events"] and texts["block_document"], "all of it was looked through"
    texts |= {f"s3://{key}": content for key, content in story.moto.objects(story.bucket).items()}
    files = [path for path in story.folder.rglob("*") if path.is_file()]
    texts |= {str(path): path.read_bytes() for path in files}
    assert any(path.name == "worker.log" for path in files) and len(story.moto.objects(story.bucket)) >= 3
    assert_nothing_secret(texts, SECRETS)
    assert "provider_refused" in str(story.vendors.state.slack), "the alert has arrived by the secret address"
