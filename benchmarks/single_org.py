"""The figures of one org: what is run, and how each figure follows from it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import httpx

from benchmarks import starting, tokens
from benchmarks.plan import Plan
from benchmarks.report import Figure
from benchmarks.stage import DRAIN_SECONDS, Evaluated, Stage
from visibility.domain import OrgProfile
from visibility.llm.catalog import known_model
from visibility.llm.client import LlmClient
from visibility.llm.prompts import load_prompt
from visibility.names import name_variations
from visibility.reading import AnswerReading, OpenAnswer, Reading, open_answer, reading_request
from visibility.settings import LlmSettings, Settings
from visibility.store.findings import load_answers

COLD_DAY, WARM_DAY = date(2024, 1, 1), date(2024, 2, 1)
GROUPED_DAYS = {3: date(2024, 3, 1), 4: date(2024, 3, 2)}  # by answers per call
FIRST_BARE_DAY, FIRST_PRODUCT_DAY = date(2022, 1, 1), date(2023, 1, 1)  # one batch per org and date
COMMAND_TIME_SCALE = 60  # of the commands whose start and calls are looked at; the critical path has its own


def calls_and_starts(stage: Stage, plan: Plan) -> list[Figure]:
    """P7, P8, P12 and P13: from commands that are run as a person runs them."""
    cold = [_cold(stage, COLD_DAY + timedelta(days=number)) for number in range(plan.cold_starts)]
    days = [WARM_DAY + timedelta(days=number) for number in range(plan.warm_starts)]
    warm = [stage.evaluate(day, COMMAND_TIME_SCALE) for day in days]
    grouped = {
        size: stage.evaluate(day, COMMAND_TIME_SCALE, ANSWERS_PER_CALL=str(size)) for size, day in GROUPED_DAYS.items()
    }
    return [
        *_calls(stage, cold[0], warm[0], grouped),
        *_tokens(stage, warm[0]),
        *_prefect_runs(stage, warm[0]),
        *starting.figures(stage, cold, warm, helps=plan.cold_starts),
    ]


def _cold(stage: Stage, day: date) -> Evaluated:
    """Evaluate with a command that must start the Prefect server."""
    stage.stop_prefect()
    return stage.evaluate(day, COMMAND_TIME_SCALE)


def cpu_and_database(stage: Stage, plan: Plan) -> list[Figure]:
    """What P1, P10 and P11 are for one org at a time, without vendor latency; bare before and after the product."""
    url = stage.sandbox("sandbox-without-latency", "--no-latency", "--seed", "11")
    runs = ("--runs", str(plan.runs))
    bare = [*stage.program("benchmarks.bare", url, FIRST_BARE_DAY, *runs)]
    product = stage.program("benchmarks.product", url, FIRST_PRODUCT_DAY, *runs)
    bare += stage.program("benchmarks.bare", url, FIRST_BARE_DAY + timedelta(days=100), *runs)
    return [*_cpu(bare, product["usages"]), *_database(product)]


def _cpu(bare: list[dict[str, float]], product: list[dict[str, float]]) -> list[Figure]:
    floor, ours = [usage["cpu_seconds"] for usage in bare], [usage["cpu_seconds"] for usage in product]
    walls = [usage["wall_seconds"] for usage in product]
    ratio = min(ours) / min(floor)  # what else runs on the machine only adds
    medians = median(ours) / median(floor)
    note = f"the least of each; of the medians {medians:.2f}"
    return [
        Figure("P1", "CPU per org ÷ bare, one org at a time", ratio, None, "×", note, ours),
        Figure("P1", "CPU per org, product, one at a time", median(ours), unit="s", samples=ours),
        Figure("P1", "CPU per org, bare, one at a time", median(floor), unit="s", samples=floor),
        Figure("P1", "wall per org, product, one at a time", median(walls), unit="s", samples=walls),
    ]


def _database(product: dict[str, Any]) -> list[Figure]:
    statements = [float(sent) for sent in product["statements"]]
    return [
        Figure("P10", "database connections, one org", product["connections"], note="of the product's pool of 10"),
        Figure("P10", "statements, one org", median(statements), samples=statements),
        Figure("P11", "memory after these runs, one org at a time", product["rss_mb"], unit="MB"),
    ]


def _calls(stage: Stage, cold: Evaluated, warm: Evaluated, grouped: dict[int, Evaluated]) -> list[Figure]:
    """P7: LLM calls that were recorded; `grouped` is by answers per call."""
    return [
        Figure("P7", "LLM calls, cold names", _recorded_calls(stage, cold), 61, "calls"),
        Figure("P7", "LLM calls, warm names", _recorded_calls(stage, warm), 60, "calls"),
        *(
            Figure("P7", f"LLM calls, warm names, {size} answers per call", _recorded_calls(stage, run), 20, "calls",
                   note=f"ANSWERS_PER_CALL={size}; a call holds answers of one model only")
            for size, run in grouped.items()
        ),
    ]  # fmt: skip


def _recorded_calls(stage: Stage, run: Evaluated) -> float:
    rows = stage.rows("SELECT count(*) FROM llm_calls WHERE batch_id = :batch_id", batch_id=run.batch_id)
    return float(rows[0][0])


def _tokens(stage: Stage, run: Evaluated) -> list[Figure]:
    """P8: real token counts of the org's reading calls, against separate calls for the same answers."""
    settings = Settings().for_sandbox(stage.sandbox("sandbox-reader", "--no-latency"), 1).llm
    profile, read = asyncio.run(_read(stage, settings, run))
    compared = tokens.compared(profile, read)
    price = known_model(settings.evaluation_model, datetime.now(UTC).date())
    given, taken = compared.mean_call
    note = f"{sum(call.total for call in compared.combined):,} tokens; mean call {given:.0f} in, {taken:.0f} out"
    calls = [
        f"{len(way)} calls" for way in (compared.three_calls, compared.three_calls_where_named, compared.two_calls)
    ]
    gated = "evaluation only where a name stands; not the replaced system"
    return [
        Figure("P8", "tokens ÷ three calls per answer", compared.ratio(compared.three_calls), 0.60, "×",
               f"{note}; {calls[0]}"),
        Figure("P8", "tokens ÷ three calls where a name stands, one else", compared.ratio(
               compared.three_calls_where_named), None, "×", f"{calls[1]}; {gated}"),
        Figure("P8", "tokens ÷ two calls where a name stands, one else", compared.ratio(compared.two_calls), None, "×",
               f"{calls[2]}; {gated}"),
        Figure("P8", "tokens per org", sum(call.total for call in compared.combined), None, "tokens"),
        Figure("P8", "LLM cost per org", float(compared.cost_usd(price)), 0.05, "USD",
               f"{price.name}, without reasoning tokens"),
    ]  # fmt: skip


async def _read(
    stage: Stage, settings: LlmSettings, run: Evaluated
) -> tuple[OrgProfile, list[tuple[OpenAnswer, AnswerReading]]]:
    """Read the batch's answers once more, keeping requests and replies."""
    rows = stage.rows("SELECT question_run_id FROM question_runs WHERE batch_id = :batch_id", batch_id=run.batch_id)
    org, prompt = stage.org, load_prompt("reading").text
    async with LlmClient(settings) as client:
        names, _ = await name_variations(client, org.name, org.websites)
        profile = OrgProfile(org.org_id, org.name, tuple(names), org.websites)
        with stage.database.transaction() as session:
            stored = load_answers(session, [row[0] for row in rows], org.org_id, "any answer: not a version")
        answers = [open_answer(answer, profile) for answer in stored]
        requests = [reading_request(profile, [answer]) for answer in answers]
        model = settings.evaluation_model
        replies = [await client.parse("evaluation", model, prompt, request, Reading) for request in requests]
    return profile, [(answer, reply.answers[0]) for answer, (reply, _) in zip(answers, replies, strict=True)]


def _prefect_runs(stage: Stage, run: Evaluated) -> list[Figure]:
    """P12: as the Prefect server has recorded them."""
    time.sleep(DRAIN_SECONDS)
    flow_run_id = run.summary.get("flow_run_id")
    with httpx.Client(base_url=stage.prefect_api(), timeout=30) as api:
        chosen = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
        task_runs = api.post("task_runs/count", json=chosen).raise_for_status().json()
        children = {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run_id]}}}
        subflows = api.post("flow_runs/count", json=children).raise_for_status().json()
    return [
        Figure("P12", "task runs, one org by its command", task_runs),
        Figure("P12", "flow runs, one org by its command, with those it starts", 1 + subflows),
    ]
