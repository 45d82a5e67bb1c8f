"""P4: how long one org takes beyond what its vendors take, and what the excess is made of.

The vendors' times are their own: the sandbox's accounting says how long each job took and the median LLM call. The
flow is timed as a whole, in a process that has everything imported (the start of a process is P13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import mean, median
from typing import Any
from uuid import UUID

import httpx

from benchmarks.plan import Plan
from benchmarks.report import Figure
from benchmarks.stage import Stage
from visibility.providers.brightdata.jobs import pause_seconds
from visibility.settings import BrightDataSettings

FIRST_DAY = date(2020, 1, 1)
MOMENTS = """
    SELECT job.snapshot_id, extract(epoch FROM job.submitted_at), extract(epoch FROM job.fetched_at),
           (SELECT extract(epoch FROM max(eval.created_at)) FROM org_evals eval
            JOIN question_runs run USING (question_run_id) WHERE run.batch_id = :batch_id)
    FROM provider_jobs job
    WHERE job.job_id IN (SELECT provider_job_id FROM question_runs WHERE batch_id = :batch_id)
"""


@dataclass(frozen=True)
class Path:
    """One run, in seconds of the wall; all but `job` and `call` are ours."""

    job: float
    call: float
    before: float
    collecting: float
    reading: float
    after: float

    @property
    def vendors(self) -> float:
        return self.job + self.call

    @property
    def ratio(self) -> float:
        return (self.before + self.vendors + self.collecting + self.reading + self.after) / self.vendors

    def ratio_unscaled(self, time_scale: float) -> float:
        """Return the ratio with vendors and waiting at their real length, and our own work as long as it was here."""
        waits = (self.vendors + self.collecting + self.reading) * time_scale
        return (waits + self.before + self.after) / (self.vendors * time_scale)


def measure(stage: Stage, plan: Plan) -> list[Figure]:
    """Run the org some times per seed on a sandbox of realistic latencies ÷ the plan's time scale."""
    paths = []
    for number, seed in enumerate(plan.seeds):
        day = FIRST_DAY + timedelta(days=number * (plan.runs_per_seed + 1))
        paths += _paths(stage, seed, plan.runs_per_seed, plan.time_scale, day)
    return _figures(paths, plan.time_scale)


def _paths(stage: Stage, seed: int, runs: int, time_scale: float, first_day: date) -> list[Path]:
    options = ("--time-scale", f"{time_scale:g}", "--seed", str(seed))
    url = stage.sandbox(f"sandbox-seed-{seed}", *options)
    options = ("--runs", str(runs), "--time-scale", f"{time_scale:g}")
    product = stage.program("benchmarks.product", url, first_day, *options)
    sold = httpx.get(f"{url}/_accounting", timeout=30).raise_for_status().json()
    job_seconds = {job["snapshot_id"]: float(job["seconds"]) for job in sold["jobs"]}
    call_seconds = float(sold["llm"]["median_seconds"])
    return [
        _path(stage, UUID(batch_id), job_seconds, call_seconds, began, usage["wall_seconds"])
        for batch_id, began, usage in zip(product["batch_ids"], product["began"], product["usages"], strict=True)
    ]


def _path(
    stage: Stage, batch_id: UUID, job_seconds: dict[str, float], call: float, began: float, wall_seconds: float
) -> Path:
    """Cut a run at the moments of its slowest job."""
    rows: Any = stage.rows(MOMENTS, batch_id=batch_id)
    snapshot_id, submitted, fetched, last_read = max(rows, key=lambda row: job_seconds[row[0]])
    job = job_seconds[snapshot_id]
    return Path(
        job,
        call,
        before=float(submitted) - began,
        collecting=float(fetched - submitted) - job,
        reading=float(last_read - fetched) - call,
        after=began + wall_seconds - float(last_read),
    )


def _poll_wait(job: float, time_scale: float) -> float:
    """Return how long a job that took `job` scaled seconds is ready, on average, before a poll finds it."""
    return pause_seconds(job * time_scale, BrightDataSettings().poll_seconds) / 2 / time_scale


def _figures(paths: Sequence[Path], time_scale: float) -> list[Figure]:
    ratios = [path.ratio for path in paths]
    share = {
        name: mean(getattr(path, name) / path.vendors for path in paths)
        for name in ("before", "collecting", "reading", "after")
    }
    waiting = mean(_poll_wait(path.job, time_scale) / path.vendors for path in paths)
    note = (
        f"mean excess: until the slowest job is submitted {share['before']:.1%}, its polling, fetch and storing "
        f"{share['collecting']:.1%} (a poll waits {waiting:.1%} on average), slowest reading call and storing "
        f"{share['reading']:.1%}, settling and summary {share['after']:.1%}; slowest job "
        f"{median(path.job * time_scale for path in paths):.0f} s, call "
        f"{median(path.call * time_scale for path in paths):.1f} s"
    )
    unscaled = [path.ratio_unscaled(time_scale) for path in paths]
    scaled = f"critical path, vendors {time_scale:g} times as fast as real"
    real = "the same, vendors and waits at real length"
    return [
        Figure("P4", scaled, median(ratios), 1.10, "×", note, ratios),
        Figure("P4", real, median(unscaled), 1.10, "×", "our own work is not magnified by the scale", unscaled),
    ]
