"""P9, and what a member costs: a network of 50 orgs and 20 answers, each of which names five of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import httpx

from benchmarks import tokens
from benchmarks.crowd import Crowd, load_crowd
from benchmarks.plan import Plan
from benchmarks.report import Figure
from benchmarks.stage import DRAIN_SECONDS, Stage
from benchmarks.tokens import Tokens
from visibility.domain import OrgProfile
from visibility.llm.catalog import ModelPrice, TokenUse, known_model
from visibility.llm.client import LlmClient
from visibility.llm.prompts import load_prompt
from visibility.names import name_variations
from visibility.reading import Reading, open_answer, reading_request
from visibility.settings import LlmSettings, Settings
from visibility.store.findings import load_answers
from visibility.store.orgs import load_org

MEMBERS, QUESTIONS, NAMED = 50, 10, 5  # 20 answers, 10 % of (answer, org) pairs with a name
TIME_SCALE = 15
BUDGETS = {"brands": 20, "mention": 100, "names": 50}


def measure(stage: Stage, plan: Plan) -> list[Figure]:
    """Ask and read for 50 members and for one, without vendor latency and with it."""
    many = load_crowd(stage, "Plumbing", members=MEMBERS, questions=QUESTIONS)
    one = load_crowd(stage, "Roofing", members=1, questions=QUESTIONS)
    worlds = ("--world", str(many.world), "--world", str(one.world), "--mentions-per-answer", str(NAMED))
    url = stage.sandbox("sandbox-networks", "--no-latency", "--seed", "19", *worlds)
    done = stage.program_of_networks(url, TIME_SCALE, _steps(many, one, plan.network_runs + 1, _days_ago(60)))
    slow = stage.sandbox("sandbox-networks-slow", "--time-scale", str(TIME_SCALE), "--seed", "19", *worlds)
    waited = stage.program_of_networks(slow, TIME_SCALE, _steps(many, one, plan.network_runs + 1, _days_ago(40)))
    before = stage.prefect_cpu_seconds()
    (sampled,) = stage.program_of_networks(url, TIME_SCALE, [_step(many, _days_ago(20))], "--profile")
    time.sleep(DRAIN_SECONDS)
    server = stage.prefect_cpu_seconds() - before
    return [
        *_calls(stage, url, many, done[0]),
        *_children(stage, done[2::2], done[3::2]),
        Figure("P1", "CPU of the Prefect server per member", server / MEMBERS, unit="s"),
        *_parts(sampled),
        *_walls(stage, waited[2::2], waited[3::2]),
    ]


def _days_ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


def _step(crowd: Crowd, day: date) -> str:
    return f"ask:{crowd.network.network_id}:{day}"


def _steps(many: Crowd, one: Crowd, runs: int, first_day: date) -> list[str]:
    """Both networks on as many days; the first day is that of cold names and imports."""
    days = [first_day + timedelta(days=number) for number in range(runs)]
    return [_step(crowd, day) for day in days for crowd in (many, one)]


# --- calls, tokens, USD ----------------------------------------------------------------------


def _calls(stage: Stage, url: str, crowd: Crowd, run: dict[str, Any]) -> list[Figure]:
    settings = Settings().for_sandbox(url, 1).llm
    price = known_model(settings.evaluation_model, datetime.now(UTC).date())
    used = {purpose: [Tokens(*pair) for pair in pairs] for purpose, pairs in run["calls"].items()}
    joint, hits = asyncio.run(_joint_calls(stage, settings, crowd, run["summary"]["batch_id"]))
    ours, theirs = [one for calls in used.values() for one in calls], [*joint, *used.get("names", [])]
    made = ", ".join(f"{purpose} {len(calls)}" for purpose, calls in sorted(used.items()))
    note = f"{made}; {hits} (answer, org) pairs have a name; one call per (answer, org) and name: {len(theirs)}"
    return [
        Figure("P9", "LLM calls, 50 orgs × 20 answers", len(ours), sum(BUDGETS.values()), note=note),
        *(
            Figure("P9", f"LLM calls for {purpose}", len(used.get(purpose, [])), budget)
            for purpose, budget in BUDGETS.items()
        ),
        Figure("P9", "tokens ÷ one joint call per (answer, org)", _total(ours) / _total(theirs), None, "×",
               f"{_total(ours):,} against {_total(theirs):,}, both with the same calls for names"),
        Figure("P9", "LLM cost", _cost(price, ours), None, "USD", f"{price.name}, without reasoning tokens"),
        Figure("P9", "LLM cost, one joint call per (answer, org)", _cost(price, theirs), None, "USD"),
    ]  # fmt: skip


def _total(calls: Sequence[Tokens]) -> int:
    return sum(one.total for one in calls)


def _cost(price: ModelPrice, calls: Sequence[Tokens]) -> float:
    return float(sum(price.cost_usd(TokenUse(one.input, 0, 0, one.output)) for one in calls))


async def _joint_calls(stage: Stage, settings: LlmSettings, crowd: Crowd, batch_id: str) -> tuple[list[Tokens], int]:
    """Make the call of an org's own questions for every (answer, org); return the tokens, and the pairs with a name."""
    rows = stage.rows("SELECT question_run_id FROM question_runs WHERE batch_id = :batch_id", batch_id=batch_id)
    run_ids = [row[0] for row in rows]
    calls, hits = [], 0
    async with LlmClient(settings) as client:
        for org_id in crowd.org_ids:
            with stage.database.transaction() as session:
                org = load_org(session, org_id)
                stored = load_answers(session, run_ids, org_id, "any answer: not a version")
            names, _ = await name_variations(client, org.name, org.websites)
            profile = OrgProfile(org_id, org.name, tuple(names), org.websites)
            answers = [open_answer(answer, profile) for answer in stored]
            hits += sum(bool(answer.names) for answer in answers)
            for answer in answers:
                request = reading_request(profile, [answer])
                prompt = load_prompt("reading").text
                reply, _ = await client.parse("evaluation", settings.evaluation_model, prompt, request, Reading)
                calls.append(tokens.call([prompt], Reading, request, reply))
    return calls, hits


# --- what a member costs, and how long all take ----------------------------------------------


def _children(stage: Stage, many: Sequence[dict[str, Any]], one: Sequence[dict[str, Any]]) -> list[Figure]:
    """Statements, CPU, task runs and connections: 50 members beside one, names cached, vendors without latency."""
    statements = _per_member(many, one, "statements")
    cpu = _per_member(many, one, "cpu_seconds")
    task_runs = _task_runs(stage, many[-1]["summary"])
    connections = max(run["connections"] for run in many)
    return [
        Figure("P10", "statements per member", median(statements), 60, note="50 members less one, ÷ 49; as sent",
               samples=statements),
        Figure("P10", "database connections, 50 members", connections, 10, note="of the product's pool of 10"),
        Figure("P12", "task runs per member", task_runs, 12, note="in the member's own flow run"),
        Figure("P1", "CPU per member of 50", median(cpu), None, "s", "50 members less one, ÷ 49; 20 answers", cpu),
    ]  # fmt: skip


def _per_member(many: Sequence[dict[str, Any]], one: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [(large[name] - small[name]) / (MEMBERS - 1) for large, small in zip(many, one, strict=True)]


def _task_runs(stage: Stage, summary: dict[str, Any]) -> float:
    """Return the task runs of the children ÷ their number, as recorded by the Prefect server."""
    time.sleep(DRAIN_SECONDS)
    children = [child["flow_run_id"] for child in summary["children"]]
    with httpx.Client(base_url=stage.prefect_api(), timeout=30) as api:
        chosen = {"flow_runs": {"id": {"any_": children}}}
        return float(api.post("task_runs/count", json=chosen).raise_for_status().json()) / len(children)


def _parts(sampled: dict[str, Any]) -> list[Figure]:
    by_size = sorted(sampled["profile"].items(), key=lambda part: -part[1])
    return [Figure("P1", f"of a member's: {name}", seconds / MEMBERS, unit="s") for name, seconds in by_size]


def _walls(stage: Stage, many: Sequence[dict[str, Any]], one: Sequence[dict[str, Any]]) -> list[Figure]:
    """Compare the time from the last answer to the end; before it both networks wait for the same vendor."""
    whole = median(run["wall_seconds"] for run in many)
    large, small = [_after_asking(stage, run) for run in many], [_after_asking(stage, run) for run in one]
    ratio = median(large) / median(small)
    call = median(run["mean_call"] for run in many)
    note = (
        f"{median(large):.2f} s against {median(small):.2f} s; mean call {call:.2f} s; the whole flow {whole:.1f} s; "
        f"time scale {TIME_SCALE}, names cached"
    )
    return [
        Figure("P9", "wall, 50 orgs × 20 answers ÷ one org", ratio, None, "×", note),
        Figure("P9", "last answer to end, 50 orgs", median(large), None, "s", samples=large),
        Figure("P9", "last answer to end, one org", median(small), None, "s", samples=small),
    ]


def _after_asking(stage: Stage, run: dict[str, Any]) -> float:
    rows = stage.rows(
        "SELECT extract(epoch FROM max(answered_at)) FROM question_runs WHERE batch_id = :batch_id",
        batch_id=run["summary"]["batch_id"],
    )
    return float(run["began"] + run["wall_seconds"] - float(rows[0][0]))
