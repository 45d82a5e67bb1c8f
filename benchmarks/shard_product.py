"""One process of a night: `evaluate-orgs` for its orgs, measured.

    python -m benchmarks.shard_product --org-id … --warm-id … --sandbox-url … --database-url … --run-date …

says `ready` when it is warm, begins at a line of its input, so that several processes begin together, and prints
JSON. PREFECT_API_URL must name a running server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from benchmarks.attribution import attributed
from benchmarks.product import Progress, counting
from benchmarks.usage import spent_since, usage_now
from flows.evaluate_orgs import evaluate_orgs
from tasks import resources
from visibility.settings import Settings

SAMPLE_SECONDS = 0.25  # looking at the connections is CPU of this process too
BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
TRIGGER = "benchmark"


async def measure(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the warm orgs, wait for the start, evaluate the orgs measured, then the profiled ones sampled."""
    assert settings.database_url is not None
    started_cpu = usage_now().cpu_seconds
    async with resources.opened(settings, linger_seconds=0):
        await evaluate_orgs(given.warm_id, given.run_date - timedelta(days=1), TRIGGER)
    async with resources.opened(settings, linger_seconds=None):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        progress = Progress(given.run_date, given.say_of) if given.say_of else None
        with counting(settings.database_url, SAMPLE_SECONDS, progress) as counted:
            began, before = time.time(), usage_now()
            summary = await evaluate_orgs(given.org_id, given.run_date, TRIGGER)
            used = spent_since(before)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_RSS_UNIT
        with attributed() as spent:
            if given.profiled_id:
                await evaluate_orgs(given.profiled_id, given.run_date, TRIGGER)
    profiled = max(len(given.profiled_id), 1)
    return {
        **used.as_dict(),
        "began": began,
        "started_cpu": started_cpu,
        "statements": counted.statements,
        "connections": counted.connections,
        "rss_mb": peak / 1e6,
        "flow_run_id": str(summary.flow_run_id),
        "completed": summary.completed,
        "llm_cost_usd": float(summary.llm_cost_usd),
        "profile": {part: seconds / profiled for part, seconds in sorted(spent.items(), key=lambda one: -one[1])},
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shard_product", description=__doc__)
    add = parser.add_argument
    add("--org-id", type=UUID, nargs="+", required=True)
    add("--warm-id", type=UUID, nargs="+", required=True)
    add("--profiled-id", type=UUID, nargs="*", default=[])
    add("--database-url", required=True)
    add("--sandbox-url", required=True)
    add("--time-scale", type=float, required=True)
    add("--run-date", type=date.fromisoformat, required=True)
    add("--say-of", type=int, help="say on standard error how many of so many orgs are done")
    given = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    settings = Settings(database_url=given.database_url).for_sandbox(given.sandbox_url, given.time_scale)
    print(json.dumps(asyncio.run(measure(settings, given))))


if __name__ == "__main__":
    main()
