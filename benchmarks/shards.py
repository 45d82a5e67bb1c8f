"""A night's shards on this machine: the processes are started, begin together, and what they used is added up."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from benchmarks.stage import Stage, postgres_cpu_seconds
from deployments.local.processes import say_on_stderr

INPUTS_PER_JOB = 500
# real seconds that a job waits to be filled: 25 orgs fill it, and two cores get through one or two orgs a second
LINGER_SECONDS = 30
TIMEOUT_SECONDS, DEADLINE_SECONDS = 60, 1200  # as the product has them
DRAIN_SECONDS, DRAIN_LOOK_SECONDS, DRAINED_LOOKS = 300, 3, 3
SCALE_WITHOUT_LATENCY = 60.0  # of our own pauses, where vendors answer at once


@dataclass(frozen=True)
class Shards:
    """What is to be run: which orgs of which database, in how many processes, so many in flight in each."""

    sandbox_url: str
    org_ids: Sequence[UUID]
    warm_ids: Sequence[UUID]
    run_date: date
    processes: int = 1
    in_flight: int = 100
    time_scale: float = SCALE_WITHOUT_LATENCY
    profiled_ids: Sequence[UUID] = ()
    database_url: str | None = None
    results_folder: Path | None = None


@dataclass(frozen=True)
class Ran:
    """What it took. `wall_seconds`: from the first beginning to the last end; the rest is summed over the processes,
    but `rss_mb` and `connections`, which are the most of one process. `services`: CPU seconds of the others per org,
    with what the Prefect server still had to do afterwards.
    """

    orgs: int
    completed: int
    cpu_seconds: float
    wall_seconds: float
    started_cpu_seconds: float
    rss_mb: float
    connections: int
    statements: int
    llm_cost_usd: float
    profile: dict[str, float]
    services: dict[str, float]
    history: History

    @property
    def cpu_per_org(self) -> float:
        return self.cpu_seconds / self.orgs

    @property
    def statements_per_org(self) -> float:
        return self.statements / self.orgs

    @property
    def orgs_per_hour(self) -> float:
        return 3600 * self.orgs / self.wall_seconds


@dataclass(frozen=True)
class History:
    """What the Prefect server has of the orgs' flow runs; `drain_seconds`: how long after the flows' end."""

    flow_runs: int
    flow_runs_completed: int
    task_runs: int
    task_runs_completed: int
    drain_seconds: float


def run(stage: Stage, shards: Shards) -> Ran:
    """Run the shards to their end and wait until the Prefect server has written down what it was told."""
    before = _services(stage, shards)
    parts = zip(_split(shards.org_ids, shards.processes), _split(shards.warm_ids, shards.processes), strict=True)
    commands = [_command(stage, shards, *part, first=number == 0) for number, part in enumerate(parts)]
    with stage.processes(commands, **night_settings(shards)) as processes:
        for process in processes:
            _line(process, "ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        results = [json.loads(_line(process, "{")) for process in processes]
        for process in processes:
            process.wait(timeout=60)
    history = drained(stage, [result["flow_run_id"] for result in results])
    after = _services(stage, shards)
    served = len(shards.org_ids) + len(shards.warm_ids) + len(shards.profiled_ids)
    used = {name: (after[name] - before[name]) / served for name in after}
    return _added_up(shards, results, used, history)


def night_settings(shards: Shards) -> dict[str, str]:
    """Return the environment of a night's processes.

    The product divides a vendor's seconds by the time scale; here those that wait for our own CPU stay as they are.
    """
    real = {
        "BRIGHTDATA_LINGER_SECONDS": LINGER_SECONDS,
        "BRIGHTDATA_DEADLINE_SECONDS": DEADLINE_SECONDS,
        "BRIGHTDATA_REQUEST_TIMEOUT_SECONDS": TIMEOUT_SECONDS,
        "LLM_TIMEOUT_SECONDS": TIMEOUT_SECONDS,
    }
    return {
        **{name: f"{seconds * shards.time_scale:g}" for name, seconds in real.items()},
        "BRIGHTDATA_MAX_INPUTS_PER_JOB": str(INPUTS_PER_JOB),
        "ORGS_IN_FLIGHT": str(shards.in_flight),
        "SHARDS": str(shards.processes),
    }


def _split(org_ids: Sequence[UUID], processes: int) -> list[Sequence[UUID]]:
    size = -(-len(org_ids) // processes)
    return [org_ids[start : start + size] for start in range(0, len(org_ids), size)]


def _command(
    stage: Stage, shards: Shards, org_ids: Sequence[UUID], warm_ids: Sequence[UUID], *, first: bool
) -> list[str]:
    command = ["-m", "benchmarks.shard_product", "--database-url", shards.database_url or stage.database_url]
    command += ["--sandbox-url", shards.sandbox_url, "--time-scale", f"{shards.time_scale:g}"]
    command += ["--run-date", shards.run_date.isoformat(), "--warm-id", *map(str, warm_ids)]
    if first:
        command += ["--say-of", str(len(shards.org_ids))]
        command += ["--profiled-id", *map(str, shards.profiled_ids)] if shards.profiled_ids else []
    return [*command, "--org-id", *map(str, org_ids)]


def _line(process: subprocess.Popen[str], start: str) -> str:
    """Return the next line that begins so; what else a program prints, its log, goes to standard error.

    Raises CalledProcessError when it has ended.
    """
    assert process.stdout is not None
    assert isinstance(process.args, list)
    for line in process.stdout:
        if line.startswith(start):
            return line
        say_on_stderr(line.rstrip())
    raise subprocess.CalledProcessError(process.wait(), process.args)


def _services(stage: Stage, shards: Shards) -> dict[str, float]:
    results = shards.results_folder
    return {
        "Prefect server": stage.prefect_cpu_seconds(),
        "Postgres, results and Prefect's": postgres_cpu_seconds(stage.data_folder),
        "sandbox": stage.sandbox_cpu_seconds(),
        **({"Postgres, results": postgres_cpu_seconds(results)} if results else {}),
    }


def _added_up(shards: Shards, results: Sequence[dict[str, Any]], services: dict[str, float], history: History) -> Ran:
    began = min(result["began"] for result in results)
    ended = max(result["began"] + result["wall_seconds"] for result in results)
    profile: Counter[str] = Counter()
    for result in results:
        profile.update(result["profile"])
    return Ran(
        orgs=len(shards.org_ids),
        completed=sum(result["completed"] for result in results),
        cpu_seconds=sum(result["cpu_seconds"] for result in results),
        wall_seconds=ended - began,
        started_cpu_seconds=max(result["started_cpu"] for result in results),
        rss_mb=max(result["rss_mb"] for result in results),
        connections=max(result["connections"] for result in results),
        statements=sum(result["statements"] for result in results),
        llm_cost_usd=sum(result["llm_cost_usd"] for result in results),
        profile=dict(profile),
        services=services,
        history=history,
    )


# --- the Prefect server ------------------------------------------------------------------------


def drained(stage: Stage, flow_run_ids: Sequence[str]) -> History:
    """Count what the server has of these flows' orgs, once it has nothing more to write (or does not get there)."""
    began = last_change = time.monotonic()
    children = {"flow_runs": {"parent_flow_run_id": {"any_": list(flow_run_ids)}}}
    with httpx.Client(base_url=stage.prefect_api(), timeout=60) as api:
        counts, unchanged = _counts(api, children), 0
        while unchanged < DRAINED_LOOKS and time.monotonic() - began < DRAIN_SECONDS:
            time.sleep(DRAIN_LOOK_SECONDS)
            now = _counts(api, children)
            if now != counts:
                last_change, unchanged = time.monotonic(), -1
            counts, unchanged = now, unchanged + 1
    return History(*counts, drain_seconds=last_change - began)


def _counts(api: httpx.Client, children: dict[str, Any]) -> tuple[int, int, int, int]:
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
    asked = (
        ("flow_runs", children),
        ("flow_runs", {"flow_runs": {**children["flow_runs"], **completed}}),
        ("task_runs", children),
        ("task_runs", {**children, "task_runs": completed}),
    )
    flows, flows_completed, tasks, tasks_completed = (
        int(api.post(f"{kind}/count", json=chosen).raise_for_status().json()) for kind, chosen in asked
    )
    return flows, flows_completed, tasks, tasks_completed
