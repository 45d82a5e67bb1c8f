"""The local worker of the process work pool `local`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deployments.local.environment import child_environment
from deployments.local.processes import Recorded, Say, running, start, starting

NAME = "worker"
POOL = "local"
SETTINGS = {  # seconds
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # without heartbeats nobody notices a process that vanishes
    "PREFECT_WORKER_QUERY_SECONDS": "3",  # a person waits for the run
}


def ensure_worker(data_folder: Path, api_url: str, settings: Mapping[str, str], *, say: Say) -> Recorded:
    """Return the running worker, starting one (and its pool) when there is none; `settings` reach its flow runs."""
    with starting(data_folder, NAME):
        record = running(data_folder, NAME)
        if record is not None:
            return record
        say(f"Starting a worker of the work pool {POOL} …")
        command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "local"]
        return start(
            data_folder, NAME, [*command, "--install-policy", "never"],
            environment=child_environment(data_folder, {**SETTINGS, **settings, "PREFECT_API_URL": api_url}),
        )  # fmt: skip
