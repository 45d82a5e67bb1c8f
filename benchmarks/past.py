"""A year of history: question runs, evaluations and charges of many orgs and networks, made by Postgres itself.

Every org and network asks 20 questions of three models each day. The network that is looked at has 50 members; all
but the newcomer have been evaluated on every answer but those of the last day. Of the other answers a share of the
orgs' own has evaluations. Keys are random and rows lie in the order of the days, as they do after a real year.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.extras import register_uuid
from sqlalchemy.engine import make_url

SESSION = "SET session_replication_role = replica; SET maintenance_work_mem = '1GB'; SET work_mem = '512MB'"
DAYS, QUESTIONS, MODELS, MEMBERS = 365, 20, ("chatgpt", "perplexity", "gemini"), 50
RUNS_PER_DAY = QUESTIONS * len(MODELS)
ORGS_PER_NETWORK = 9  # orgs with questions of their own per network
DAYS_PER_CHUNK = 30
UNCHARGED = 5
VERSION = "benchmark-1"

TENANTS = """
    INSERT INTO partners (partner_id, name) VALUES (gen_random_uuid(), 'Beacon Agency');
    INSERT INTO networks (partner_id, name)
        SELECT partner_id, 'Network ' || n FROM partners, generate_series(1, %(networks)s) n;
    INSERT INTO orgs (partner_id, name, network_id, network_joined_at)
        SELECT partner_id, 'Org ' || n, CASE WHEN n <= %(members)s THEN
            (SELECT network_id FROM networks WHERE name = 'Network 1') END, now() - interval '400 days'
        FROM partners, generate_series(1, %(orgs)s) n;
    INSERT INTO geo_questions (network_id, question_text)
        SELECT network_id, 'Question ' || n FROM networks, generate_series(1, %(questions)s) n;
    INSERT INTO geo_questions (org_id, question_text)
        SELECT org_id, 'Question ' || n FROM orgs, generate_series(1, %(questions)s) n;
    INSERT INTO evaluation_batches (scope, network_id, run_date, status, started_at, completed_at, sandbox)
        SELECT 'network', network_id, %(today)s - n, 'completed', %(today)s - n, %(today)s - n, true
        FROM networks, generate_series(0, %(days)s - 1) n;
    INSERT INTO evaluation_batches (scope, org_id, run_date, status, started_at, completed_at, sandbox)
        SELECT 'org', org_id, %(today)s - n, 'completed', %(today)s - n, %(today)s - n, true
        FROM orgs, generate_series(0, %(days)s - 1) n WHERE org_id IN (SELECT org_id FROM orgs LIMIT %(asking)s);
    ANALYZE;
"""
RUNS = """
    INSERT INTO question_runs (batch_id, question_id, model, country_code, status, provider, attempts, error_code,
                               response_text, provider_sources, cost_usd, asked_at, answered_at, created_at)
    SELECT batch_id, question_id, model, 'US', CASE WHEN fails THEN 'failed' ELSE 'answered' END,
           'brightdata:' || model, 1, CASE WHEN fails THEN 'crawl_failed' END,
           CASE WHEN NOT fails THEN 'Many companies do this; **Trane** and Lennox are named most often. ' || n END,
           CASE WHEN NOT fails THEN '{"citations": []}'::jsonb END, 0.0015, day, day + interval '5 minutes', day
    FROM (
        SELECT batch.batch_id, question.question_id, model, batch.run_date + interval '3 hours' AS day,
               random() < 0.03 AS fails, row_number() OVER () AS n
        FROM evaluation_batches batch
        JOIN geo_questions question ON question.org_id = batch.org_id OR question.network_id = batch.network_id
        CROSS JOIN unnest(%(models)s) model
        WHERE batch.run_date BETWEEN %(first)s AND %(last)s) drawn
    ORDER BY day, batch_id
"""
EVALUATIONS = """
    INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason, share_of_voice, created_at)
    SELECT run.question_run_id, org.org_id, %(version)s, false, 'name_absent', 0, run.answered_at
    FROM evaluation_batches batch
    JOIN question_runs run ON run.batch_id = batch.batch_id AND run.status = 'answered'
    JOIN orgs org ON org.org_id = batch.org_id
        OR org.network_id = batch.network_id AND org.name <> 'Org 2' AND (org.name <> 'Org 1' OR run_date < %(today)s)
    WHERE batch.run_date BETWEEN %(first)s AND %(last)s
      AND (batch.scope = 'network' OR batch.run_date > %(today)s - %(own_days)s)
    ORDER BY run.answered_at, batch.batch_id
"""
CHARGES = """
    INSERT INTO partner_usage_ledger
        (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id, batch_id)
    SELECT org_id, partner_id, 'PARTNER', partner_id, -0.05, 'question_run', question_run_id, batch_id
    FROM org_evals JOIN question_runs run USING (question_run_id) JOIN orgs USING (org_id)
"""
UNCHARGE = """
    DELETE FROM partner_usage_ledger WHERE (source_id, org_id) IN (
        SELECT run.question_run_id, evaluation.org_id
        FROM orgs JOIN org_evals evaluation USING (org_id) JOIN question_runs run USING (question_run_id)
        JOIN evaluation_batches batch USING (batch_id)
        WHERE orgs.name = 'Org 1' AND batch.scope = 'network' ORDER BY run.answered_at DESC LIMIT %(uncharged)s)
"""
INDEXES = """
    SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || conname,
           'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE conrelid = %(table)s::regclass AND contype = 'u'
    UNION ALL
    SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = %(table)s::regclass
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
"""


@dataclass(frozen=True)
class Past:
    """A seeded database; `org_id` lacks the last day, `newcomer_id` everything. Rows are question runs."""

    network_id: UUID
    org_id: UUID
    newcomer_id: UUID
    rows: int
    evaluations: int
    gigabytes: float


def seed(database_url: str, rows: int, today: date, *, days: int = DAYS) -> Past:
    """Fill a migrated, empty database with about `rows` question runs of the `days` up to `today`.

    Secondary indexes are dropped meanwhile and made again, foreign keys are not looked at; the schema at the end is
    the real one.
    """
    owners = max(round(rows / days / RUNS_PER_DAY), 2)
    networks = max(owners // (ORGS_PER_NETWORK + 1), 1)
    asking = owners - networks
    given = {
        "networks": networks, "asking": asking, "orgs": max(asking, MEMBERS), "members": MEMBERS, "days": days,
        "questions": QUESTIONS, "models": list(MODELS), "today": today, "version": VERSION,
        "own_days": days // 4, "uncharged": UNCHARGED,
    }  # fmt: skip
    with _connected(database_url) as cursor:
        cursor.execute(TENANTS, given)
        with _filling(cursor, "question_runs"):
            _in_chunks(database_url, RUNS, given)
        with _filling(cursor, "org_evals"):
            _in_chunks(database_url, EVALUATIONS, given)
        with _filling(cursor, "partner_usage_ledger"):
            cursor.execute(CHARGES)
        cursor.execute(UNCHARGE, given)
        _say("vacuum and analyze")
        cursor.execute("VACUUM (ANALYZE)")
        return _seeded(cursor)


def _in_chunks(database_url: str, statement: str, given: dict[str, Any]) -> None:
    """Fill a table day by day, two months at a time: Postgres uses one core for each."""
    today, starts = given["today"], range(given["days"], 0, -DAYS_PER_CHUNK)

    def fill(start: int) -> None:
        first = today - timedelta(days=start - 1)
        last = min(first + timedelta(days=DAYS_PER_CHUNK - 1), today)
        with _connected(database_url) as cursor:
            cursor.execute(statement, {**given, "first": first, "last": last})
            _say(f"{statement.split()[2]} until {last}: {cursor.rowcount:,} rows")

    with ThreadPoolExecutor(2) as threads:
        for _ in threads.map(fill, starts):
            pass


@contextmanager
def _filling(cursor: Any, table: str) -> Iterator[None]:
    """Drop the indexes that are no primary key; make them again afterwards from their own definitions."""
    began = time.perf_counter()
    cursor.execute(INDEXES, {"table": table})
    definitions = cursor.fetchall()
    for drop, _ in definitions:
        cursor.execute(drop)
    yield
    _say(f"{table} filled after {time.perf_counter() - began:.0f} s")
    for _, make in definitions:
        cursor.execute(make)
    cursor.execute(f"ANALYZE {table}")
    _say(f"{table} with its indexes after {time.perf_counter() - began:.0f} s")


def _seeded(cursor: Any) -> Past:
    cursor.execute(
        "SELECT network_id, org_id, (SELECT org_id FROM orgs WHERE name = 'Org 2'),"
        " (SELECT count(*) FROM question_runs), (SELECT count(*) FROM org_evals),"
        " pg_database_size(current_database()) / 1e9::float FROM orgs WHERE name = 'Org 1'"
    )
    return Past(*cursor.fetchone())


@contextmanager
def _connected(database_url: str) -> Iterator[Any]:
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(plain)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            register_uuid(conn_or_curs=cursor)  # type: ignore[no-untyped-call]
            cursor.execute(SESSION)
            yield cursor


def _say(what: str) -> None:
    print(f"history: {what}", file=sys.stderr, flush=True)
