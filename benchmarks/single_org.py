"""The figures of one org: what is run, and how each figure follows from it."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date
from statistics import median

import httpx

from benchmarks.report import Figure
from benchmarks.stage import Evaluated, Stage
from visibility.llm.prompts import load_prompt

COLD_DAY, WARM_DAY = date(2024, 1, 1), date(2024, 1, 2)
FIRST_BARE_DAY, FIRST_PRODUCT_DAY = date(2022, 1, 1), date(2023, 1, 1)  # one batch per org and date
CALLS_REPLACED = 3  # per answer: is it a mention, its sentiment, the competitors; each sends the answer
DRAIN_SECONDS = 5  # until the Prefect server has written the last task runs


def measure(stage: Stage, *, runs: int, time_scale: float) -> list[Figure]:
    """Run everything that single orgs are measured by."""
    cold = stage.evaluate(COLD_DAY, time_scale)  # starts the Prefect server and the sandbox
    warm = stage.evaluate(WARM_DAY, time_scale)
    return [
        *_cpu_and_database(stage, runs),
        _critical_path(stage, warm),
        *_calls(stage, cold, warm),
        *_tokens(stage, warm),
        *_prefect_runs(stage, warm),
        *_starting(stage, cold, warm),
    ]


def _cpu_and_database(stage: Stage, runs: int) -> list[Figure]:
    """P1 and P10, at zero vendor latency, with everything imported and warm."""
    sandbox_url = stage.sandbox("sandbox-without-latency", "--no-latency", "--seed", "11")
    bare = [usage["cpu_seconds"] for usage in stage.program("benchmarks.bare", sandbox_url, FIRST_BARE_DAY, runs)]
    product = stage.program("benchmarks.product", sandbox_url, FIRST_PRODUCT_DAY, runs)
    ours = [usage["cpu_seconds"] for usage in product["usages"]]
    walls = [usage["wall_seconds"] for usage in product["usages"]]
    ratio = median(ours) / median(bare)
    statements = [float(count) for count in product["statements"]]
    return [
        Figure(
            "P1", "CPU per org ÷ bare, one org at a time", ratio, 1.3, "×", "budget is for 200 orgs in shards", ours
        ),
        Figure("P1", "CPU per org, product", median(ours), unit="s", samples=ours),
        Figure("P1", "CPU per org, bare", median(bare), unit="s", samples=bare),
        Figure("P1", "wall per org, product, no vendor latency", median(walls), unit="s", samples=walls),
        Figure("P10", "database connections", product["connections"], 10),
        Figure("P10", "statements per org", median(statements), 60, samples=statements),
        Figure("P11", "memory after these runs", product["rss_mb"], 500, "MB RSS", "budget is for 100 orgs in flight"),
    ]


def _critical_path(stage: Stage, run: Evaluated) -> Figure:
    """P4: from the first vendor submission's batch start to its end, over what vendors alone take."""
    ((job_seconds, call_seconds, batch_seconds),) = stage.rows(
        """
        SELECT (SELECT max(extract(epoch FROM fetched_at - submitted_at)) FROM provider_jobs
                WHERE job_id IN (SELECT provider_job_id FROM question_runs WHERE batch_id = :batch_id)),
               (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) / 1000 FROM llm_calls
                WHERE batch_id = :batch_id AND purpose = 'evaluation'),
               (SELECT extract(epoch FROM completed_at - started_at) FROM evaluation_batches
                WHERE batch_id = :batch_id)
        """,
        batch_id=run.batch_id,
    )
    vendors = float(job_seconds) + float(call_seconds)
    note = f"{float(batch_seconds):.1f} s ÷ ({float(job_seconds):.1f} s job + {float(call_seconds):.2f} s call)"
    return Figure("P4", "critical path, latencies of vendors", float(batch_seconds) / vendors, 1.10, "×", note)


def _calls(stage: Stage, cold: Evaluated, warm: Evaluated) -> list[Figure]:
    """P7: LLM calls that were recorded."""
    counted = [
        stage.rows("SELECT count(*) FROM llm_calls WHERE batch_id = :batch_id", batch_id=run.batch_id)[0][0]
        for run in (cold, warm)
    ]
    return [
        Figure("P7", "LLM calls, cold names", counted[0], 61),
        Figure("P7", "LLM calls, warm names", counted[1], 60),
    ]


def _tokens(stage: Stage, run: Evaluated) -> list[Figure]:
    """P8: tokens against separate calls that would each send the answer, with a third of the rules each."""
    ((calls, tokens_in, tokens_out, cost),) = stage.rows(
        "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd) FROM llm_calls"
        " WHERE batch_id = :batch_id",
        batch_id=run.batch_id,
    )
    ((characters,),) = stage.rows(
        "SELECT sum(length(response_text)) FROM question_runs WHERE batch_id = :batch_id", batch_id=run.batch_id
    )
    rules = len(load_prompt("reading").text) * calls
    rule_tokens = int(tokens_in) * rules / (rules + int(characters))
    separate = rule_tokens + CALLS_REPLACED * (int(tokens_in) - rule_tokens) + int(tokens_out)
    note = f"{int(tokens_in):,} in, {int(tokens_out):,} out; rules and answers split by characters"
    return [
        Figure("P8", "tokens ÷ separate calls", (int(tokens_in) + int(tokens_out)) / separate, 0.60, "×", note),
        Figure("P8", "LLM cost per org", float(cost), 0.05, "USD"),
    ]


def _prefect_runs(stage: Stage, run: Evaluated) -> list[Figure]:
    """P12: as the Prefect server has recorded them."""
    time.sleep(DRAIN_SECONDS)
    flow_run_id = run.summary.get("flow_run_id")
    with httpx.Client(base_url=stage.prefect_api(), timeout=30) as api:
        chosen = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
        task_runs = api.post("task_runs/count", json=chosen).raise_for_status().json()
        flow_runs = api.post("flow_runs/count", json=chosen).raise_for_status().json()
    return [Figure("P12", "task runs per org", task_runs, 12), Figure("P12", "flow runs per org", flow_runs, 1)]


def _starting(stage: Stage, cold: Evaluated, warm: Evaluated) -> list[Figure]:
    """P13: the command's help, and the way to the first vendor call."""
    helps = [_help_seconds() for _ in range(3)]
    return [
        Figure("P13", "--help", median(helps), 2.5, "s", samples=helps),
        Figure("P13", "first vendor call, server running", _until_vendor(stage, warm), 6, "s"),
        Figure("P13", "first vendor call, server to be started", _until_vendor(stage, cold), 25, "s"),
    ]


def _help_seconds() -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "flows.org_evaluation", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _until_vendor(stage: Stage, run: Evaluated) -> float:
    """Seconds from the command's start to its first job; Postgres runs on the same clock."""
    rows = stage.rows(
        "SELECT extract(epoch FROM min(submitted_at)) FROM provider_jobs WHERE job_id IN"
        " (SELECT provider_job_id FROM question_runs WHERE batch_id = :batch_id)",
        batch_id=run.batch_id,
    )
    return float(rows[0][0]) - run.began
