"""A year of a network among the history of others: every statement of its report reads indexes, not tables."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from tests.support.seed import seed_network, seed_org
from visibility.report.summary import read_report
from visibility.store.database import Database
from visibility.store.report_sums import ReportWindow

UNTIL = date(2026, 11, 30)
DAYS, RUNS, MEMBERS = 365, 4, 2
OTHER_BATCHES, OTHER_RUNS = 600, 60
NEVER_SCANNED = ("question_runs", "org_evals", "llm_calls")


async def test_a_year_of_a_network_is_summed_up_from_indexes(database: Database, tmp_path: Path) -> None:
    sent: list[tuple[str, Any]] = []
    with database.transaction() as session:
        network_id = _seed(session)
    event.listen(database.engine, "before_cursor_execute", lambda *of: sent.append((of[2], of[3])))
    window = ReportWindow("network", network_id, UNTIL - timedelta(days=DAYS - 1), UNTIL, False)
    report, _ = await database.run(read_report, window, datetime(2026, 12, 1, tzinfo=UTC), tmp_path)
    assert (len(report.dates), report.overall.expected) == (DAYS, DAYS * RUNS)
    assert report.overall.evaluated == DAYS * RUNS * MEMBERS
    read = [(statement, given) for statement, given in list(sent) if "evaluation_batches" in statement]
    assert len(read) == len(sent) - 1, "all but the one that names the owner"
    assert len(read) <= 11 + MEMBERS
    for statement, given in read:
        plan = _plan(database, statement, given)
        for table in NEVER_SCANNED:
            assert f"Seq Scan on {table}" not in plan, plan
        assert "uq_question_runs_manifest" in plan, plan


def _plan(database: Database, statement: str, parameters: Any) -> str:
    with database.transaction() as session:
        rows = session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
        return "\n".join(row[0] for row in rows)


def _seed(session: Session) -> UUID:
    """Write a year of this network, read for its members, and the longer history of another one."""
    network_id, other_id = (seed_network(session, questions=1, name=name) for name in ("League", "Another"))
    for network, members in ((network_id, MEMBERS), (other_id, 1)):
        for number in range(members):
            seed_org(session, name=f"{network} {number}", network_id=network, questions=0, models=(), locations=(),
                     balance=None)  # fmt: skip
    session.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign key is looked up
    known = {"network": network_id, "other": other_id, "until": UNTIL, "days": DAYS, "runs": RUNS,
             "other_days": OTHER_BATCHES, "other_runs": OTHER_RUNS, "job": uuid4()}  # fmt: skip
    for statement in HISTORY.split(";"):
        session.execute(text(statement), known)
    session.execute(text("ANALYZE"))
    return network_id


HISTORY = """
    INSERT INTO evaluation_batches (scope, network_id, run_date, status)
    SELECT 'network', CAST(:network AS uuid), CAST(:until AS date) - day + 1, 'completed'
    FROM generate_series(1, :days) day
    UNION ALL
    SELECT 'network', CAST(:other AS uuid), CAST(:until AS date) - day + 1, 'completed'
    FROM generate_series(1, :other_days) day;
    INSERT INTO question_runs (batch_id, question_id, model, country_code, replicate, status, response_text)
    SELECT batch_id, question_id, 'chatgpt', 'US', number, 'answered', 'Northwind.'
    FROM evaluation_batches JOIN geo_questions USING (network_id),
        generate_series(1, CASE WHEN network_id = :network THEN :runs ELSE :other_runs END) number;
    INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason, mention_text)
    SELECT question_run_id, orgs.org_id, 'v1', true, 'verified', 'Northwind.'
    FROM question_runs JOIN evaluation_batches USING (batch_id) JOIN orgs USING (network_id);
    INSERT INTO org_competitors (evaluation_id, name, name_key, rank)
    SELECT evaluation_id, 'Acme', 'acme', 1 FROM org_evals;
    INSERT INTO llm_calls (purpose, model, batch_id, input_tokens, output_tokens, cost_usd, price_table, latency_ms)
    SELECT 'evaluate', 'gpt-6-luna', batch_id, 1, 1, 0.0001, 'p', 1 FROM question_runs
"""
