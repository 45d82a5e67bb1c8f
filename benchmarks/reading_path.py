"""P5: how long a member waits for the evaluation of 100 answers that all name it, in LLM calls of 2 to 5 s.

The mean call is the vendor's own figure, from the sandbox's accounting of the very run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean, median
from typing import Any

from benchmarks.crowd import load_crowd
from benchmarks.plan import Plan
from benchmarks.report import Figure
from benchmarks.stage import Stage

QUESTIONS = 50  # × 2 models = 100 answers
LLM_SECONDS = "2:5"
BUDGET = 3.0
BRANDS_UNREAD, BRANDS_READ = "brands not read yet", "brands read for another member"
COLD, WARM = "names not cached", "names cached"


def measure(stage: Stage, plan: Plan) -> list[Figure]:
    """Read for two new members per run, one after the other: names not cached; then again the answers of a day later.

    Two further members warm the process up.
    """
    members, time_scale = 2 * (plan.reads + 1), plan.reading_scale
    crowd = load_crowd(stage, "Heating", members=members, questions=QUESTIONS)
    options = ("--world", str(crowd.world), "--mentions-per-answer", str(members), "--llm-seconds", LLM_SECONDS)
    url = stage.sandbox("sandbox-reading", "--time-scale", f"{time_scale:g}", "--seed", "17", *options)
    day, steps = datetime.now(UTC).date() - timedelta(days=2 * members), []
    for number in range(0, members, 2):
        for _ in (COLD, WARM):
            day += timedelta(days=1)
            steps.append(f"store:{crowd.network.network_id}:{day}")
            steps += [f"read:{org_id}:{day}" for org_id in crowd.org_ids[number : number + 2]]
    done = stage.program_of_networks(url, time_scale, steps)
    reads = [step for step in done if "summary" in step]
    return [figure for case in range(4) for figure in _figures(case, reads[4 + case :: 4], time_scale)]


def _figures(case: int, reads: Sequence[dict[str, Any]], time_scale: float) -> list[Figure]:
    """Return the figures of one of the four reads of every pair of members; the first pair is left out."""
    names, brands = (COLD, WARM)[case // 2], (BRANDS_UNREAD, BRANDS_READ)[case % 2]
    ratios = [read["wall_seconds"] / read["mean_call"] for read in reads]
    calls = [sum(map(len, read["calls"].values())) for read in reads]
    evaluated = median(read["summary"]["evaluated_now"] for read in reads)
    wall, call = fmean(read["wall_seconds"] for read in reads), fmean(read["mean_call"] for read in reads)
    note = (
        f"{evaluated:.0f} answers in {median(calls):.0f} calls; wall {wall:.2f} s, mean call {call:.2f} s, "
        f"time scale {time_scale:g}"
    )
    return [Figure("P5", f"100 answers ÷ one call, {brands}, {names}", median(ratios), BUDGET, "×", note, ratios)]
