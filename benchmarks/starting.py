"""P13: what a person waits for: `--help`, and the way to the first vendor call."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.report import Figure
from benchmarks.stage import Evaluated, Stage

STARTING_NOTE = "mostly imports: Prefect, the store with SQLAlchemy, flow and tasks (docs/performance.md)"


def figures(stage: Stage, cold: Sequence[Evaluated], warm: Sequence[Evaluated], helps: int) -> list[Figure]:
    """Return P13 of runs whose command started a Prefect server (`cold`) and of those that found one (`warm`)."""
    help_seconds = [_help_seconds() for _ in range(helps)]
    running = [_until_vendor(stage, run) for run in warm]
    started = [_until_vendor(stage, run) for run in cold]
    return [
        Figure("P13", "--help", median(help_seconds), 2.5, "s", "does not import Prefect", help_seconds),
        Figure("P13", "first vendor call, server running", median(running), 6, "s", STARTING_NOTE, running),
        Figure("P13", "first vendor call, server to be started", median(started), 25, "s",
               "mostly the Prefect server: its imports and, in the first run, its migrations", started),
    ]  # fmt: skip


def _help_seconds() -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "flows.org_evaluation", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _until_vendor(stage: Stage, run: Evaluated) -> float:
    """Seconds from the command's start to the row of its first vendor job; Postgres runs on the same clock.

    The row is committed right before the call, so that neither the call nor the vendor's answer is part of it.
    """
    rows = stage.rows(
        "SELECT extract(epoch FROM min(submitted_at)) FROM provider_jobs WHERE job_id IN"
        " (SELECT provider_job_id FROM question_runs WHERE batch_id = :batch_id)",
        batch_id=run.batch_id,
    )
    return float(rows[0][0]) - run.began
