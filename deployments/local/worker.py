"""The local worker of the process work pool `local`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deployments.local.environment import child_environment
from deployments.local.processes import Recorded, Say, running, start, starting
from visibility.errors import ConfigurationError

NAME = "worker"
POOL = "local"
SIMULATED, CONFIGURED = "SIMULATED vendors", "the vendors of your settings"
SETTINGS = {  # seconds
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # without heartbeats nobody notices a process that vanishes
    "PREFECT_WORKER_QUERY_SECONDS": "3",  # a person waits for the run
}


def ensure_worker(data_folder: Path, api_url: str, settings: Mapping[str, str], *, sandbox: bool, say: Say) -> Recorded:
    """Return the running worker, starting one (and its pool) when there is none; `settings` reach its flow runs.

    Raises ConfigurationError when a worker runs whose vendors are the others: simulated, or real ones that are paid.
    """
    options = {"vendors": SIMULATED if sandbox else CONFIGURED}
    with starting(data_folder, NAME):
        record = running(data_folder, NAME)
        if record is not None and record.options != options:
            runs_with = record.options.get("vendors", "other vendors")
            raise ConfigurationError(f"A worker with {runs_with} already runs; `make down` stops it.")
        if record is not None:
            return record
        say(f"Starting a worker of the work pool {POOL} …")
        command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "local"]
        return start(
            data_folder, NAME, [*command, "--install-policy", "never"],
            environment=child_environment(data_folder, {**SETTINGS, **settings, "PREFECT_API_URL": api_url}),
            options=options,
        )  # fmt: skip
