"""compose.yaml's services in containers that find each other: its commands, environments and health checks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployments.image.build import ROOT
from deployments.image.checks import Checks, require, require_success
from deployments.image.compose import Service
from deployments.image.container import Container, Image, Running
from deployments.image.database import Postgres
from deployments.image.network import Network

HEALTHY_SECONDS = 240
EXAMPLE = "northwind-heating.yaml"
DEPLOYMENT = "org-evaluation/org-evaluation"
UI = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:4200/', timeout=10).read().decode())"
RESULTS = """
select b.status, count(*) as asked, count(*) filter (where q.status = 'answered') as answered,
       (select count(*) from org_evals e join question_runs r using (question_run_id) where r.batch_id = b.batch_id),
       (select count(distinct source_id) from partner_usage_ledger l where l.batch_id = b.batch_id),
       (select count(*) from partner_usage_ledger l where l.batch_id = b.batch_id)
from evaluation_batches b join question_runs q using (batch_id)
where b.run_date = %s group by b.batch_id
"""


@dataclass(frozen=True)
class Stack:
    """The services that run, and what a further container of the product is told."""

    running: Mapping[str, Running]
    services: Mapping[str, Service]
    postgres: Postgres
    trial: Container  # on the image of production, with the worker's environment

    def schedule(self, org_id: str, *options: str) -> Sequence[str]:
        """Return the command that has an organisation evaluated by its deployment."""
        return ["prefect", "deployment", "run", DEPLOYMENT, "--param", f"org_id={org_id}", *options]


@contextmanager
def together(
    checks: Checks, images: Mapping[str, Image], services: Sequence[Service], network: Network, postgres: Postgres,
    folder: Path,
) -> Iterator[Stack]:  # fmt: skip
    """Start the services in order; each start is a check, and none follows one that failed (GroupEnded)."""
    running: dict[str, Running] = {}
    with ExitStack() as open_until_the_end:
        for service in services:
            container = Container(
                images[service.target], network, service.name, service.environment, kept=service.volumes
            )
            if service.health is None:
                with checks.check(f"{service.name}: `{_shown(service)}` ends with 0", needed=True):
                    require_success(container.run(*service.command), service.name)
                continue
            started = open_until_the_end.enter_context(
                container.running(service.command, folder / f"{service.name}.log")
            )
            with checks.check(f"{service.name}: `{_shown(service)}` becomes healthy", needed=True):
                _wait_until_healthy(started, service.health)
            running[service.name] = started
        by_name = {service.name: service for service in services}
        trial = Container(images["production"], network, "trial", by_name["worker"].environment)
        yield Stack(running, by_name, postgres, trial)


def try_evaluation(checks: Checks, stack: Stack) -> str:
    """Load the example and have the worker evaluate it; return the organisation's id.

    Raises GroupEnded when it cannot be evaluated.
    """
    with checks.check("the Prefect server shows its UI on a read-only root"):
        page = require_success(stack.running["prefect"].execute("python", "-c", UI), "asking for the UI")
        require("<title>Prefect" in page, f"the page begins {page[:80]}")
    with checks.check(f"`python -m visibility.store.load` loads {EXAMPLE}", needed=True):
        org_id = _load_example(stack)
    with checks.check(
        f"{DEPLOYMENT} runs on the worker to Completed, every answer read and charged once", needed=True
    ) as check:
        watched = stack.running["worker"].execute(*stack.schedule(org_id, "--watch"))
        output = require_success(watched, "prefect deployment run")
        require("Completed" in output, f"it says {output[-300:]}")
        check.figures = require_results(stack.postgres, datetime.now(UTC).date().isoformat())
    return org_id


def require_results(postgres: Postgres, run_date: str) -> dict[str, float]:
    """Return how many answers, evaluations and charges the batch of a date has; CheckFailed unless all are there."""
    found = postgres.rows(RESULTS, run_date)
    require(len(found) == 1, f"{len(found)} batches of {run_date}")
    status, asked, answered, evaluated, charged, charges = found[0]
    counted = {"asked": asked, "answered": answered, "evaluated": evaluated, "charges": charges}
    same = asked == answered == evaluated == charged == charges
    require(status == "completed" and asked and same, f"the batch is {status} with {counted}")
    return counted


def _load_example(stack: Stack) -> str:
    trial = stack.trial
    container = Container(trial.image, trial.network, trial.name, trial.environment, volume=ROOT / "examples")
    output = require_success(container.run("python", "-m", "visibility.store.load", f"/mnt/{EXAMPLE}"), "loading")
    found = re.search(r"org ([0-9a-f-]{36})", output)
    require(found, f"no organisation in {output}")
    return found.group(1) if found else ""


def _wait_until_healthy(started: Running, test: Sequence[str]) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    while started.execute(*test).returncode:
        log = started.log.read_text()[-600:]
        require(not started.ended, f"it has ended: {log}")
        require(time.monotonic() < deadline, f"not healthy within {HEALTHY_SECONDS} s: {log}")
        time.sleep(0.5)


def _shown(service: Service) -> str:
    return " ".join(service.command)
