"""The floor: orgs evaluated by a plain asyncio program, without Prefect, retries, leases or resume.

It makes the HTTP calls that the product makes, to the same sandbox, computes the same findings with the same pure
functions, and writes the same rows to the same Postgres, in as few statements as it can. Several orgs are evaluated
at once, and share vendor jobs as full as those of the product. Anything that fails ends it.

    python -m benchmarks.bare --org-id … --sandbox-url … --database-url … --runs 5    prints JSON
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
from psycopg2.extras import Json, execute_values, register_uuid
from sqlalchemy.orm import Session

from benchmarks.usage import Usage, spent_since, usage_now
from visibility.domain import Answer, Evaluation, LlmCall, Org, OrgProfile, QuestionRun, StoredAnswer, expected_runs
from visibility.evaluation import extractor_version
from visibility.grounding import Share, evaluate
from visibility.llm.catalog import known_model
from visibility.llm.prompts import load_prompt
from visibility.llm.replies import billed_call, response_format
from visibility.names_core import core_variations
from visibility.providers.brightdata.engines import Engine, JobInput, engines, inputs_of
from visibility.providers.brightdata.records import read_records
from visibility.providers.routing import provider_of
from visibility.reading import Reading, open_answer, reading_request
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.findings import save_evaluations
from visibility.store.orgs import load_org

PRICE_USD = Decimal("0.05")
CALLS = 64


@dataclass(frozen=True)
class Program:
    """What all orgs of the program share; `calls` are the LLM calls at a time."""

    settings: Settings
    database: Database
    http: httpx.AsyncClient
    version: str
    calls: asyncio.Semaphore


@dataclass(frozen=True)
class Asked:
    """One org with its batch and question runs."""

    org: Org
    profile: OrgProfile
    batch_id: UUID
    runs: Sequence[QuestionRun]


async def evaluate_orgs(program: Program, orgs: Sequence[Org], run_date: date) -> int:
    """Evaluate orgs, as many in common vendor jobs as one takes; return the number of answers."""
    most = program.settings.brightdata.max_inputs_per_job
    together = max(most // (len(orgs[0].questions) * max(len(orgs[0].locations), 1)), 1)
    groups = [orgs[start : start + together] for start in range(0, len(orgs), together)]
    return sum(await asyncio.gather(*(evaluate_together(program, group, run_date) for group in groups)))


async def evaluate_together(program: Program, orgs: Sequence[Org], run_date: date) -> int:
    """Ask, read, store and charge orgs whose questions share jobs; return the number of answers."""
    asked = await asyncio.gather(*(open_batch(program, org, run_date) for org in orgs))
    models = dict.fromkeys(model for org in orgs for model in org.models)
    await asyncio.gather(*(ask_and_read(program, asked, model) for model in models))
    return sum(await asyncio.gather(*(program.database.run(write_charges, one) for one in asked)))


async def open_batch(program: Program, org: Org, run_date: date) -> Asked:
    """Write an org's batch, question runs and hold."""
    batch_id = uuid4()
    profile = OrgProfile(org.org_id, org.name, tuple(core_variations(org.name, org.websites)), org.websites)
    runs = [
        (QuestionRun(uuid4(), batch_id, question.text, model, location), question.question_id)
        for question, model, location, _ in expected_runs(org)
    ]
    await program.database.run(write_manifest, org, batch_id, run_date, runs)
    return Asked(org, profile, batch_id, [run for run, _ in runs])


async def ask_and_read(program: Program, asked: Sequence[Asked], model: str) -> None:
    """One vendor job for one model of all these orgs, then one reading call per answer, all at once."""
    provider = provider_of(model) or ""
    runs = [run for one in asked for run in one.runs if run.model == model]
    engine, inputs = engines(program.settings.brightdata)[provider], inputs_of(runs)
    job_id = uuid4()
    await program.database.run(write_job, job_id, engine, inputs)
    records = await buy(program, job_id, engine, inputs)
    results = read_records(provider, inputs, records, program.settings.brightdata.price_per_record_usd)
    answers = {result.question_run_id: result for result in results if isinstance(result, Answer)}
    await program.database.run(write_answers, job_id, list(answers.values()))
    await asyncio.gather(*(read_org(program, one, model, answers) for one in asked))


async def read_org(program: Program, asked: Asked, model: str, answers: Mapping[UUID, Answer]) -> None:
    """Read and store one org's answers of one model."""
    runs = [run for run in asked.runs if run.model == model and run.question_run_id in answers]
    read = await asyncio.gather(
        *(read_answer(program, asked.profile, run, answers[run.question_run_id]) for run in runs)
    )
    await program.database.run(save_evaluations, [evaluation for evaluation, _ in read], [call for _, call in read])


async def buy(program: Program, job_id: UUID, engine: Engine, inputs: Sequence[JobInput]) -> list[Any]:
    """Submit a job, poll until it is ready, fetch its records."""
    vendor = program.settings.brightdata
    assert vendor.api_key is not None
    headers = {"Authorization": f"Bearer {vendor.api_key.get_secret_value()}"}
    query = {"dataset_id": engine.dataset_id, "include_errors": "true"}
    body = [entry.body(engine) for entry in inputs]
    reply = await program.http.post(f"{vendor.base_url}/trigger", params=query, headers=headers, json=body)
    snapshot_id = reply.raise_for_status().json()["snapshot_id"]
    await program.database.run(write_snapshot, job_id, snapshot_id)
    while True:
        progress = await program.http.get(f"{vendor.base_url}/progress/{snapshot_id}", headers=headers)
        if progress.raise_for_status().json()["status"] == "ready":
            break
        await asyncio.sleep(vendor.poll_seconds)
    fetched = await program.http.get(f"{vendor.base_url}/snapshot/{snapshot_id}?format=json", headers=headers)
    records: list[Any] = fetched.raise_for_status().json()
    return records


async def read_answer(
    program: Program, profile: OrgProfile, run: QuestionRun, answer: Answer
) -> tuple[Evaluation, LlmCall]:
    """One structured call, and the evaluation that follows from it."""
    llm = program.settings.llm
    assert llm.openai_api_key is not None
    stored = StoredAnswer(
        answer.question_run_id, run.question_text, answer.response_text, answer.provider_sources, run.model
    )
    opened = open_answer(stored, profile)
    async with program.calls:
        began = time.monotonic()
        reply = await program.http.post(
            f"{llm.openai_base_url}/chat/completions",
            headers={"Authorization": f"Bearer {llm.openai_api_key.get_secret_value()}"},
            json=_request(llm.evaluation_model, reading_request(profile, [opened])),
        )
    completion = reply.raise_for_status().json()
    reading = Reading.model_validate_json(completion["choices"][0]["message"]["content"])
    price = known_model(llm.evaluation_model, datetime.now(UTC).date())
    call: LlmCall = billed_call("evaluation", price, _as_object(completion), time.monotonic() - began)
    share = Share(call.input_tokens, call.output_tokens, call.cost_usd)
    return evaluate(opened, reading.answers[0], profile, program.version, share), call


def _request(model: str, user: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "system", "content": load_prompt("reading").text}, {"role": "user", "content": user}],
        "response_format": response_format(Reading),
        "max_completion_tokens": 4096,
    }


def _as_object(completion: dict[str, Any]) -> Any:
    """The product's bookkeeping reads attributes, as the SDK gives them."""
    usage = completion["usage"]
    details = SimpleNamespace(**(usage.get("prompt_tokens_details") or {}))
    return SimpleNamespace(usage=SimpleNamespace(**{**usage, "prompt_tokens_details": details}))


# --- the writes: one statement for many rows -----------------------------------------------


def write_manifest(
    session: Session, org: Org, batch_id: UUID, run_date: date, runs: Sequence[tuple[QuestionRun, UUID]]
) -> None:
    """Batch, question runs and hold."""
    cursor = _cursor(session)
    cursor.execute(
        "INSERT INTO evaluation_batches (batch_id, scope, org_id, run_date, status, started_at, sandbox)"
        " VALUES (%s, 'org', %s, %s, 'running', now(), true)",
        (batch_id, org.org_id, run_date),
    )
    execute_values(
        cursor,
        "INSERT INTO question_runs (question_run_id, batch_id, question_id, model, country_code, region_name, city)"
        " VALUES %s",
        [
            (run.question_run_id, batch_id, question_id, run.model, run.location.country_code,
             run.location.region_name, run.location.city)
            for run, question_id in runs
        ],
        page_size=5000,
    )  # fmt: skip
    cursor.execute(
        "INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, expires_at)"
        " VALUES (%s, %s, 'ORG', %s, %s, %s, now() + interval '1 day')",
        (batch_id, org.org_id, org.org_id, PRICE_USD * len(runs), PRICE_USD),
    )


def write_job(session: Session, job_id: UUID, engine: Engine, inputs: Sequence[JobInput]) -> None:
    """The vendor's job before it is submitted, and the claim of its question runs."""
    cursor = _cursor(session)
    cursor.execute(
        "INSERT INTO provider_jobs (job_id, provider, dataset_id, status, submitter, input_count, deadline_at)"
        " VALUES (%s, %s, %s, 'submitting', 'bare', %s, now() + interval '20 minutes')",
        (job_id, engine.provider, engine.dataset_id, len(inputs)),
    )
    cursor.execute(
        "UPDATE question_runs SET status = 'asked', provider = %s, provider_job_id = %s, attempts = attempts + 1,"
        " asked_at = now() WHERE question_run_id = ANY(%s)",
        (engine.provider, job_id, [entry.run_id for entry in inputs]),
    )


def write_snapshot(session: Session, job_id: UUID, snapshot_id: str) -> None:
    """What the vendor calls the job, before the first poll."""
    _cursor(session).execute(
        "UPDATE provider_jobs SET status = 'submitted', snapshot_id = %s WHERE job_id = %s", (snapshot_id, job_id)
    )


def write_answers(session: Session, job_id: UUID, answers: Sequence[Answer]) -> None:
    """All answers of a job, and the job's end."""
    cursor = _cursor(session)
    execute_values(
        cursor,
        "UPDATE question_runs AS run SET status = 'answered', response_text = new.text, answered_by = new.model,"
        " grounded = new.grounded, provider_sources = new.sources, applied_country = new.country,"
        " cost_usd = new.cost, answered_at = now()"
        " FROM (VALUES %s) AS new (id, text, model, grounded, sources, country, cost) WHERE question_run_id = new.id",
        [
            (answer.question_run_id, answer.response_text, answer.answered_by, answer.grounded,
             Json(answer.provider_sources), answer.applied_country, answer.cost_usd)
            for answer in answers
        ],
        template="(%s::uuid, %s, %s, %s::boolean, %s::jsonb, %s, %s)",
        page_size=5000,
    )  # fmt: skip
    cursor.execute("UPDATE provider_jobs SET status = 'fetched', fetched_at = now() WHERE job_id = %s", (job_id,))


def write_charges(session: Session, asked: Asked) -> int:
    """Ledger, balance, hold and the batch's end; returns the number of charges."""
    cursor, org = _cursor(session), asked.org
    cursor.execute(
        "INSERT INTO partner_usage_ledger (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id,"
        " batch_id, metadata) SELECT org_id, %s, 'ORG', org_id, -%s, 'question_run', question_run_id, %s,"
        " jsonb_build_object('actual_cost', run.cost_usd + evaluation.cost_usd, 'quoted_price', %s)"
        " FROM question_runs run JOIN org_evals evaluation USING (question_run_id) WHERE batch_id = %s",
        (org.partner_id, PRICE_USD, asked.batch_id, PRICE_USD, asked.batch_id),
    )
    charges: int = cursor.rowcount
    cursor.execute(
        "UPDATE credit_balances SET current_balance = current_balance - %s WHERE payer_type = 'ORG' AND payer_id = %s",
        (PRICE_USD * charges, org.org_id),
    )
    cursor.execute(
        "UPDATE credit_holds SET status = 'settled', closed_at = now() WHERE batch_id = %s", (asked.batch_id,)
    )
    cursor.execute(
        "UPDATE evaluation_batches SET status = 'completed', completed_at = now() WHERE batch_id = %s",
        (asked.batch_id,),
    )
    return charges


def _cursor(session: Session) -> Any:
    cursor = session.connection().connection.cursor()
    register_uuid(conn_or_curs=cursor)  # type: ignore[no-untyped-call]
    return cursor


# --- the program -----------------------------------------------------------------------------


async def measure(settings: Settings, org_ids: Sequence[UUID], first_date: date, runs: int) -> list[Usage]:
    """Evaluate one org to warm up, then all of them `runs` times, one date each; CPU and wall seconds of each."""
    assert settings.database_url is not None
    database = Database(settings.database_url, settings.database_pool_size)
    usages = []
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CALLS)) as http:
        program = Program(settings, database, http, extractor_version(settings.llm), asyncio.Semaphore(CALLS))
        orgs = await asyncio.gather(*(database.run(load_org, org_id) for org_id in org_ids))
        await evaluate_orgs(program, orgs[:1], first_date)
        for number in range(1, runs + 1):
            before = usage_now()
            await evaluate_orgs(program, orgs, first_date + timedelta(days=number))
            usages.append(spent_since(before))
    database.close()
    return usages


def main() -> None:
    """Measure and print one JSON list of {cpu_seconds, wall_seconds}."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--org-id", type=UUID, nargs="+", required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--sandbox-url", required=True)
    parser.add_argument("--time-scale", type=float, default=60.0)
    parser.add_argument("--first-date", type=date.fromisoformat, required=True)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    settings = Settings(database_url=given.database_url).for_sandbox(given.sandbox_url, given.time_scale)
    usages = asyncio.run(measure(settings, given.org_id, given.first_date, given.runs))
    print(json.dumps([usage.as_dict() for usage in usages]))


if __name__ == "__main__":
    main()
