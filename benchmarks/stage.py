"""Where it is measured: a data folder of its own with Postgres, Prefect server and sandboxes, removed afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
from sqlalchemy import text

from benchmarks.plan import ROOT
from deployments.local import ensure_prefect_server
from deployments.local.environment import child_environment
from deployments.local.network import HOST, answers, free_port
from deployments.local.processes import recorded, running, say_on_stderr, start, stop, wait_until_healthy
from visibility.domain import Org
from visibility.store import embedded, migrate
from visibility.store.database import Database
from visibility.store.load import load_file
from visibility.store.orgs import load_org

NOT_MEASURED = ("PREFECT_", "BRIGHTDATA_", "DATABASE_URL", "ANSWERS_PER_CALL", "ORGS_IN_FLIGHT", "LLM_", "SHARDS")
DRAIN_SECONDS = 5  # until the Prefect server has written the last task runs
EXAMPLE = ROOT / "examples" / "northwind-heating.yaml"


@dataclass(frozen=True)
class Stage:
    """Open services, and the example org in the database."""

    data_folder: Path
    database_url: str
    database: Database
    org: Org

    def sandbox(self, name: str, *options: str) -> str:
        """Start one more sandbox with these options, tell it of the org, return its URL."""
        port = free_port()
        url = f"http://{HOST}:{port}"
        environment = child_environment(self.data_folder, {})
        record = start(
            self.data_folder, name, ["sandbox", "--port", str(port), *options], environment=environment, url=url
        )
        wait_until_healthy(record, lambda: answers(f"{url}/_health"), timeout_seconds=30, say=say_on_stderr)
        questions = [question.text for question in self.org.questions]
        org = {"name": self.org.name, "websites": list(self.org.websites), "questions": questions}
        httpx.post(f"{url}/_world", json={"orgs": [org]}).raise_for_status()
        return url

    def prefect_api(self) -> str:
        """Return the API of the Prefect server, started when it does not run."""
        return ensure_prefect_server(self.data_folder)

    def stop_prefect(self) -> None:
        """Stop the Prefect server, so that the next command must start one."""
        if (record := running(self.data_folder, "prefect-server")) is not None:
            stop(self.data_folder, record)

    def prefect_cpu_seconds(self) -> float:
        """Return the CPU that the Prefect server has used, without that of its database."""
        self.prefect_api()
        return self._cpu_seconds("prefect-server")

    def sandbox_cpu_seconds(self) -> float:
        """Return the CPU that all sandboxes have used."""
        names = [record.name for record in recorded(self.data_folder) if record.name.startswith("sandbox")]
        return sum(map(self._cpu_seconds, names))

    def _cpu_seconds(self, name: str) -> float:
        record = running(self.data_folder, name)
        return cpu_seconds(record.pid) if record is not None else 0.0

    def program(self, module: str, sandbox_url: str, first_date: date, *options: str) -> Any:
        """Run `benchmarks.bare` or `benchmarks.product` with the example org; return the JSON that it prints."""
        command = ["-m", module, "--org-id", str(self.org.org_id), "--database-url", self.database_url]
        command += ["--sandbox-url", sandbox_url, "--first-date", first_date.isoformat(), *options]
        return self._measured(command)

    def bare_of_orgs(self, sandbox_url: str, org_ids: Sequence[UUID], first_date: date, **settings: str) -> Any:
        """Run `benchmarks.bare` once with these orgs at a time; return its usage."""
        command = ["-m", "benchmarks.bare", "--runs", "1", "--database-url", self.database_url]
        command += [
            "--sandbox-url",
            sandbox_url,
            "--first-date",
            first_date.isoformat(),
            "--org-id",
            *map(str, org_ids),
        ]
        (usage,) = self._measured(command, **settings)
        return usage

    @contextmanager
    def processes(self, commands: Sequence[Sequence[str]], **settings: str) -> Iterator[list[subprocess.Popen[str]]]:
        """Run measured programs beside each other, to be talked to by their standard input and output."""
        self.database.engine.dispose()
        environment = child_environment(self.data_folder, self._environment() | settings)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started = [
            subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, **pipes) for command in commands
        ]
        try:
            yield started
        finally:
            for process in started:
                process.kill()
                process.communicate()

    def program_of_networks(self, sandbox_url: str, time_scale: float, steps: Sequence[str], *options: str) -> Any:
        """Run the steps of `benchmarks.network_product`; return what it says of each."""
        command = ["-m", "benchmarks.network_product", "--database-url", self.database_url, *options]
        command += ["--sandbox-url", sandbox_url, "--time-scale", f"{time_scale:g}", *steps]
        return self._measured(command)

    def evaluate(self, run_date: date, time_scale: float, **settings: str) -> Evaluated:
        """Run the command as a person does, on the local sandbox, with these environment variables.

        Return its times and its summary.
        """
        command = ["-m", "flows.org_evaluation", "--org-id", str(self.org.org_id), "--sandbox", "--json"]
        command += ["--run-date", run_date.isoformat(), "--time-scale", f"{time_scale:g}"]
        began, started = time.time(), time.perf_counter()
        output = self._run(command, settings)
        return Evaluated(began, time.perf_counter() - started, json.loads(output))

    def rows(self, query: str, **parameters: Any) -> Any:
        """Return the rows of a query of the results' database."""
        with self.database.transaction() as session:
            return session.execute(text(query), parameters).all()

    def _measured(self, command: Sequence[str], **settings: str) -> Any:
        self.database.engine.dispose()  # the program counts the connections of its database; ours is none of them
        return json.loads(self._run(command, self._environment() | settings).splitlines()[-1])

    def _environment(self) -> dict[str, str]:
        return {"PREFECT_API_URL": self.prefect_api(), "PREFECT_LOGGING_LEVEL": "WARNING"}

    def _run(self, command: Sequence[str], extra: dict[str, str]) -> str:
        environment = child_environment(self.data_folder, extra)
        result = subprocess.run(
            [sys.executable, *command], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        return result.stdout


def cpu_seconds(process_id: int) -> float:
    """Return the CPU of a process, its children, and those of them that have ended."""
    root = psutil.Process(process_id)
    return sum(sum(each.cpu_times()[:4]) for each in (root, *root.children(recursive=True)))


def postgres_cpu_seconds(data_folder: Path) -> float:
    """Return the CPU of an embedded Postgres: of the results' database and of Prefect's, where both are on it."""
    process_id = int((embedded.server_folder(data_folder) / "postmaster.pid").read_text().splitlines()[0])
    return cpu_seconds(process_id)


@dataclass(frozen=True)
class Evaluated:
    """One run of the command: start (seconds since the epoch), wall seconds, its summary as JSON."""

    began: float
    wall_seconds: float
    summary: dict[str, Any]

    @property
    def batch_id(self) -> UUID:
        return UUID(self.summary["batch_id"])


@contextmanager
def opened() -> Iterator[Stage]:
    """A stage with the example org loaded and money enough; everything is stopped and removed on leaving."""
    for name in [name for name in os.environ if name.startswith(NOT_MEASURED)]:
        del os.environ[name]  # the reader's own installation is neither used nor measured
    data_folder = Path(tempfile.mkdtemp(prefix="visibility-bench-"))
    url = embedded.start(data_folder)
    migrate.upgrade(url)
    database = Database(url)
    try:
        with database.transaction() as session:
            (org_id, *_) = load_file(session, EXAMPLE).org_ids
            session.execute(text("UPDATE credit_balances SET current_balance = 100000"))
            org = load_org(session, org_id)
        yield Stage(data_folder, url, database, org)
    finally:
        database.close()
        for record in recorded(data_folder):
            stop(data_folder, record)
        embedded.stop(data_folder)
        shutil.rmtree(data_folder, ignore_errors=True)
