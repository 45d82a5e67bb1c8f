"""The floor: one org evaluated by a plain asyncio program, without Prefect, retries, leases or resume.

It makes the HTTP calls that the product makes, to the same sandbox, computes the same findings with the same pure
functions, and writes the same rows to the same Postgres, in as few statements as it can. Anything that fails ends it.

    python -m benchmarks.bare --org-id … --sandbox-url … --database-url … --runs 5    prints JSON
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
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


@dataclass(frozen=True)
class Program:
    """What all orgs of the program share."""

    settings: Settings
    database: Database
    http: httpx.AsyncClient
    version: str


async def evaluate_org(program: Program, org: Org, run_date: date) -> int:
    """Ask, read, store and charge one org; return the number of its answers."""
    batch_id = uuid4()
    profile = OrgProfile(org.org_id, org.name, tuple(core_variations(org.name, org.websites)), org.websites)
    runs = [
        (QuestionRun(uuid4(), batch_id, question.text, model, location), question.question_id)
        for question, model, location, _ in expected_runs(org)
    ]
    await program.database.run(write_manifest, org, batch_id, run_date, runs)
    by_model = [[run for run, _ in runs if run.model == model] for model in org.models]
    evaluated = await asyncio.gather(*(ask_and_read(program, profile, each) for each in by_model))
    await program.database.run(write_charges, org, batch_id, [one for part in evaluated for one in part])
    return sum(map(len, evaluated))


async def ask_and_read(program: Program, profile: OrgProfile, runs: Sequence[QuestionRun]) -> list[Evaluation]:
    """One vendor job for one model, then one reading call per answer, all at once."""
    provider = provider_of(runs[0].model) or ""
    engine, inputs = engines(program.settings.brightdata)[provider], inputs_of(runs)
    job_id = uuid4()
    await program.database.run(write_job, job_id, engine, inputs)
    records = await buy(program, job_id, engine, inputs)
    results = read_records(provider, inputs, records, program.settings.brightdata.price_per_record_usd)
    answers = [result for result in results if isinstance(result, Answer)]
    await program.database.run(write_answers, job_id, answers)
    read = await asyncio.gather(*(read_answer(program, profile, runs, answer) for answer in answers))
    await program.database.run(save_evaluations, [evaluation for evaluation, _ in read], [call for _, call in read])
    return [evaluation for evaluation, _ in read]


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
    program: Program, profile: OrgProfile, runs: Sequence[QuestionRun], answer: Answer
) -> tuple[Evaluation, LlmCall]:
    """One structured call, and the evaluation that follows from it."""
    llm = program.settings.llm
    assert llm.openai_api_key is not None
    run = next(run for run in runs if run.question_run_id == answer.question_run_id)
    stored = StoredAnswer(
        answer.question_run_id, run.question_text, answer.response_text, answer.provider_sources, run.model
    )
    opened = open_answer(stored, profile)
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


def write_charges(session: Session, org: Org, batch_id: UUID, evaluations: Sequence[Evaluation]) -> None:
    """Ledger, balance, hold and the batch's end."""
    cursor = _cursor(session)
    execute_values(
        cursor,
        "INSERT INTO partner_usage_ledger (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id,"
        " batch_id, metadata) VALUES %s",
        [
            (org.org_id, org.partner_id, "ORG", org.org_id, -PRICE_USD, "question_run", one.question_run_id, batch_id,
             Json({"actual_cost": str(one.cost_usd), "quoted_price": str(PRICE_USD)}))
            for one in evaluations
        ],
        page_size=5000,
    )  # fmt: skip
    cursor.execute(
        "UPDATE credit_balances SET current_balance = current_balance - %s WHERE payer_type = 'ORG' AND payer_id = %s",
        (PRICE_USD * len(evaluations), org.org_id),
    )
    cursor.execute("UPDATE credit_holds SET status = 'settled', closed_at = now() WHERE batch_id = %s", (batch_id,))
    cursor.execute(
        "UPDATE evaluation_batches SET status = 'completed', completed_at = now() WHERE batch_id = %s", (batch_id,)
    )


def _cursor(session: Session) -> Any:
    cursor = session.connection().connection.cursor()
    register_uuid(conn_or_curs=cursor)  # type: ignore[no-untyped-call]
    return cursor


# --- the program -----------------------------------------------------------------------------


async def measure(settings: Settings, org_id: UUID, first_date: date, runs: int) -> list[Usage]:
    """Evaluate the org once to warm up and then `runs` times, one date each; CPU and wall seconds of each."""
    assert settings.database_url is not None
    database = Database(settings.database_url, settings.database_pool_size)
    usages = []
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=64)) as http:
        program = Program(settings, database, http, extractor_version(settings.llm))
        org = await database.run(load_org, org_id)
        for number in range(runs + 1):
            before = usage_now()
            await evaluate_org(program, org, first_date + timedelta(days=number))
            usages.append(spent_since(before))
    database.close()
    return usages[1:]


def main() -> None:
    """Measure and print one JSON list of {cpu_seconds, wall_seconds}."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--org-id", type=UUID, required=True)
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
