"""P6 and the whole night: 1,500 orgs × 60 answers on this machine, with realistic latencies ÷ a time scale.

The sandbox enforces the vendor's limits (10 submissions a minute, 100 running jobs, in its own time). Afterwards the
database, the sandbox's accounting and the Prefect server are asked whether everything is there, and once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import shards, town
from benchmarks.nights import WARM, today
from benchmarks.plan import Plan
from benchmarks.report import Figure
from benchmarks.shards import Ran, Shards
from benchmarks.stage import Stage

FIRST_ORG = 1500  # in the names that exist: those before it belong to other parts of the benchmark
ORGS_OF_BUDGET, JOBS_OF_BUDGET = 1500, 200
IN_FLIGHT = 50  # of each process
LONGEST_MINUTES = 30
VENDORS_LIMITS = ("--max-running-jobs", "100", "--submissions-per-minute", "10")

ORGS = "org_id = ANY(CAST(:orgs AS uuid[]))"
RUNS = f"question_runs run JOIN evaluation_batches batch USING (batch_id) WHERE run_date = :day AND batch.{ORGS}"
CHARGES = f"partner_usage_ledger WHERE kind = 'charge' AND {ORGS}"
READ = f"""
    SELECT eval.question_run_id, eval.org_id FROM org_evals eval
    JOIN question_runs run USING (question_run_id) JOIN evaluation_batches batch USING (batch_id)
    WHERE run_date = :day AND run.status = 'answered' AND eval.{ORGS}
"""
CHECKS = {
    "expected": f"SELECT count(*) FROM {RUNS}",
    "answered": f"SELECT count(*) FROM {RUNS} AND run.status = 'answered'",
    "not_charged": f"SELECT count(*) FROM ({READ} EXCEPT SELECT source_id, org_id FROM {CHARGES}) AS wrong",
    "not_read": f"SELECT count(*) FROM (SELECT source_id, org_id FROM {CHARGES} EXCEPT {READ}) AS wrong",
    "charged_again": f"SELECT count(*) - count(DISTINCT (source_id, org_id)) FROM {CHARGES}",
    "charges": f"SELECT count(*) FROM {CHARGES}",
    "balances_off": """
        SELECT count(*) FROM credit_balances
        LEFT JOIN (SELECT payer_id, sum(amount) AS paid FROM credit_top_ups GROUP BY 1) AS paid USING (payer_id)
        LEFT JOIN (SELECT payer_id, sum(amount) AS used FROM partner_usage_ledger GROUP BY 1) AS used USING (payer_id)
        WHERE payer_id = ANY(CAST(:orgs AS uuid[])) AND current_balance <> coalesce(paid, 0) + coalesce(used, 0)""",
    "holds": f"SELECT count(*) FROM credit_holds WHERE status = 'active' AND {ORGS}",
    "database_bytes": "SELECT pg_database_size(current_database())",
    "jobs": """
        SELECT count(*) FROM provider_jobs job WHERE created_at >= :began AND NOT EXISTS (
            SELECT FROM question_runs run JOIN evaluation_batches USING (batch_id)
            WHERE run.provider_job_id = job.job_id AND run_date <> :day)""",
}


def measure(stage: Stage, plan: Plan) -> list[Figure]:
    """Run the night and look at what it left."""
    warm = WARM * plan.night_processes
    built = town.build(FIRST_ORG, plan.night_orgs + warm)
    with stage.database.transaction() as session:
        town.seed(session, built)
    scale = f"{plan.night_scale:g}"
    url = stage.sandbox("sandbox-night", "--time-scale", scale, "--seed", "17", *VENDORS_LIMITS)
    town.tell(url, built.orgs)
    orgs = built.part(warm, warm + plan.night_orgs)
    ((began, database_bytes),) = stage.rows("SELECT now(), pg_database_size(current_database())")
    ran = shards.run(stage, Shards(
        url, orgs, built.part(0, warm), today(), plan.night_processes, IN_FLIGHT, plan.night_scale
    ))  # fmt: skip
    with stage.database.transaction() as session:
        found = look(session, orgs, today(), began)
    sold = httpx.get(f"{url}/_accounting", params={"detail": "false"}, timeout=300).raise_for_status().json()
    grown = (found["database_bytes"] - database_bytes) / 1e6 / ran.orgs
    return [*_jobs(ran.orgs, found, sold), *_checks(ran, found, sold), *_took(plan, ran, grown)]


def look(session: Session, org_ids: Sequence[UUID], day: date, began: datetime) -> dict[str, int]:
    """Count what the night of these orgs left, by the names of CHECKS; `began`: jobs before it are not its own."""
    given = {"day": day, "began": began, "orgs": [str(org_id) for org_id in org_ids]}
    return {name: int(session.scalar(text(query), given) or 0) for name, query in CHECKS.items()}


def _jobs(orgs: int, found: dict[str, int], sold: dict[str, Any]) -> list[Figure]:
    budget = JOBS_OF_BUDGET * orgs / ORGS_OF_BUDGET
    scaled = "" if orgs == ORGS_OF_BUDGET else f"; the budget is that of {ORGS_OF_BUDGET:,} orgs, scaled"
    refused = sum(sold["totals"]["rate_limited"].values())
    note = f"{shards.INPUTS_PER_JOB} inputs a job at most; {refused} requests refused by the vendor's limits{scaled}"
    return [
        Figure("P6", f"vendor jobs for {orgs:,} orgs × {town.ANSWERS_PER_ORG}", found["jobs"], budget, "jobs", note)
    ]


def _checks(ran: Ran, found: dict[str, int], sold: dict[str, Any]) -> list[Figure]:
    """Whatever is not 0 here is wrong."""
    history = ran.history
    lost = -(-history.task_runs // ran.orgs) * ran.orgs - history.task_runs_completed
    bought = f"the sandbox sold {sold['totals']['records_usable']:,} records"
    wrong = {
        f"answers missing of {found['expected']:,}": (found["expected"] - found["answered"], ""),
        "records bought twice": (len(sold["bought_twice"]), bought),
        "answers evaluated and not charged": (found["not_charged"], f"{found['charges']:,} charges"),
        "charges without an evaluated answer": (found["not_read"], ""),
        "charges of what was charged before": (found["charged_again"], ""),
        f"balances of {ran.orgs:,} that are not top-ups and ledger": (found["balances_off"], ""),
        "holds left open": (found["holds"], ""),
        "orgs not completed": (ran.orgs - ran.completed, ""),
        "flow runs missing or open at the Prefect server": (ran.orgs - history.flow_runs_completed, ""),
        "task runs missing or open at the Prefect server": (lost, f"{history.task_runs_completed:,} completed"),
    }
    return [Figure("NIGHT", what, number, 0, note=note) for what, (number, note) in wrong.items()]


def _took(plan: Plan, ran: Ran, grown_mb: float) -> list[Figure]:
    limit = LONGEST_MINUTES if ran.orgs >= ORGS_OF_BUDGET else None
    note = f"{plan.night_processes} processes, {IN_FLIGHT} orgs in flight in each; time scale {plan.night_scale:g}"
    return [
        Figure("NIGHT", f"wall, {ran.orgs:,} orgs", ran.wall_seconds / 60, limit, "min", note),
        Figure("NIGHT", "orgs of the night", ran.orgs),
        Figure("NIGHT", "growth of the database per org", grown_mb, unit="MB"),
        Figure("NIGHT", "orgs per hour", ran.orgs_per_hour, unit="orgs"),
        Figure("NIGHT", "CPU per org, worker", ran.cpu_per_org, unit="s"),
        *(Figure("NIGHT", f"CPU per org, {name}", seconds, unit="s") for name, seconds in ran.services.items()),
        Figure("NIGHT", "statements per org", ran.statements_per_org),
        Figure("NIGHT", "most memory of a worker", ran.rss_mb, unit="MB"),
        Figure("NIGHT", "until the Prefect server had written everything", ran.history.drain_seconds, unit="s"),
        Figure("NIGHT", "LLM cost per org, by the sandbox's tokens", ran.llm_cost_usd / ran.orgs, unit="USD"),
    ]
