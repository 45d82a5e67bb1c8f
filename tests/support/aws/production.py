"""A production of one test: Prefect server with a password, AWS by Terraform in moto, bootstrap, worker, vendors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.engine import URL, make_url

from deployments.local import sandbox_environment
from deployments.local.network import free_port
from deployments.local.prefect_server import TUNED_SETTINGS
from deployments.local.processes import WITH_DEFAULT_SIGNALS
from sandbox.server import RunningSandbox, serve_in_thread
from tests.support import postgres
from tests.support.aws.fake_ecs import WORKER_KEY, FakeEcs, serving_ecs
from tests.support.aws.network import default_network, forget_everything
from tests.support.pool import REPOSITORY
from tests.support.terraform.run import apply, outputs_json
from tests.support.waiting import PATIENCE
from visibility.settings import Settings

AUTH = "prefect:s3rver-auth-string"
KEYS = {"BRIGHTDATA_API_KEY": "bd-key-of-production", "OPENAI_API_KEY": "sk-key-of-production"}
TIME_SCALE = 15.0
POOL = "ecs"


@dataclass(frozen=True)
class Production:
    """Everything is up but what a test still has to do."""

    api_url: str
    database_url: str
    aws: FakeEcs
    vendors: RunningSandbox
    outputs: dict[str, Any]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a person has set who works on it."""
        return {
            **os.environ,
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": AUTH,
            "PREFECT_DEFAULT_WORK_POOL_NAME": POOL,
            "SLACK_WEBHOOK_URL": f"{self.vendors.url}/slack/services/T1/B2",
            "COLUMNS": "200",
        }

    def command(self, *arguments: str, status: int = 0) -> str:
        """Run `python -m …` as that person; return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=REPOSITORY, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def bootstrap(self, *arguments: str, status: int = 0) -> str:
        """Run bootstrap from Terraform's outputs."""
        outputs = str(self.folder / "outputs.json")
        return self.command(
            "deployments.bootstrap", "--pool", "ecs", "--terraform-outputs", outputs, *arguments, status=status
        )

    def put_secret(self, **changes: str | None) -> None:
        """Give the secret its value; None leaves a key out."""
        held = {"DATABASE_URL": self.database_url, "PREFECT_API_AUTH_STRING": AUTH, **KEYS, **changes}
        text = json.dumps({name: value for name, value in held.items() if value is not None})
        self.aws.client("secretsmanager").put_secret_value(SecretId=self.outputs["secret_arn"], SecretString=text)

    @contextmanager
    def worker(self) -> Iterator[Path]:
        """Run the worker with the command and environment of its task definition; yield its log."""
        ecs, log_file = self.aws.client("ecs"), self.folder / "worker.log"
        definition = ecs.describe_task_definition(taskDefinition=self.outputs["worker_service_name"])["taskDefinition"]
        [container] = definition["containerDefinitions"]
        given = {one["name"]: one["value"] for one in container["environment"]}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = kept | self.aws.environment | given | {
            "PREFECT_API_AUTH_STRING": AUTH,  # from the secret
            "PREFECT_HOME": str(self.folder / "worker-home"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(free_port()),
            "AWS_ACCESS_KEY_ID": WORKER_KEY,
        }  # fmt: skip
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", WITH_DEFAULT_SIGNALS, sys.executable, "-m", *container["command"]],
                env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield log_file
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=PATIENCE)
            finally:
                process.kill()
                process.wait()
                print(log_file.read_text()[-20_000:])


@contextmanager
def production(template: tuple[URL, str], folder: Path) -> Iterator[Production]:
    """Start server, vendors and AWS, apply Terraform, put the secret; nothing is bootstrapped or deployed yet."""
    with ExitStack() as stack:
        database_url = stack.enter_context(postgres.clone(*template))
        prefect_url = stack.enter_context(postgres.clone(template[0], None))
        api_url = stack.enter_context(prefect_server(prefect_url, folder))
        vendors = stack.enter_context(serve_in_thread(time_scale=TIME_SCALE))
        aws = stack.enter_context(serving_ecs(image_environment(vendors, folder), folder))
        forget_everything(aws.url)
        vpc, subnets = default_network(aws.client("ec2"))
        variables = {
            "vpc_id": vpc,
            "subnet_ids": subnets,
            "prefect_api_url": api_url,
            "image": "example.com/senso:0.1.0",
        }
        outputs = apply(folder / "terraform", aws.url, variables)
        # moto speaks plain HTTP and obeys the bucket's policy, which refuses what is not TLS
        aws.client("s3").delete_bucket_policy(Bucket=outputs["results_bucket"])
        (folder / "outputs.json").write_text(outputs_json(folder / "terraform"))
        started = Production(api_url, database_url, aws, vendors, outputs, folder)
        started.put_secret()
        yield started


def image_environment(vendors: RunningSandbox, folder: Path) -> dict[str, str]:
    """Return what stands for the image: this interpreter, and addresses of simulated vendors instead of real ones."""
    simulated = sandbox_environment(Settings(), vendors.url, TIME_SCALE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
    return {
        **kept,
        **{name: value for name, value in simulated.items() if name not in KEYS},
        "PREFECT_HOME": str(folder / "task-home"),
        "VISIBILITY_DATA_FOLDER": str(folder / "task-data"),
        "SLACK_WEBHOOK_BLOCK": "visibility-alerts",
        "LEASE_SECONDS": "15",
        "SHARD_ORGS": "1",
    }


@contextmanager
def prefect_server(database_url: str, folder: Path) -> Iterator[str]:
    """A Prefect server with the settings of ours, and a password; yield its API's address."""
    port = free_port()
    url = make_url(database_url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | TUNED_SETTINGS | {
        "PREFECT_HOME": str(folder / "server-home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url,
        "PREFECT_SERVER_API_AUTH_STRING": AUTH,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_AUTH_STRING": AUTH,
        "PREFECT__SERVER_FINAL": "1",
    }  # fmt: skip
    command = [
        "uvicorn",
        "--factory",
        "prefect.server.api.server:create_app",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        api_url = f"http://127.0.0.1:{port}/api"
        _wait_for(api_url, process)
        yield api_url
    finally:
        process.kill()
        process.wait()
        print((folder / "server.log").read_text()[-5000:])


def _wait_for(api_url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        assert process.poll() is None and time.monotonic() < deadline, "the server does not start"
        try:
            if httpx.get(f"{api_url}/health", timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
