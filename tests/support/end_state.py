"""What a database holds at the end of a run, so that a disturbed run can be compared with an undisturbed one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import text

from visibility.store.database import Database

EVALUATIONS = "SELECT count(*) FROM org_evals"
CHARGES = "SELECT count(*) FROM partner_usage_ledger WHERE kind = 'charge'"
ACTIVE_HOLDS = "SELECT count(*) FROM credit_holds WHERE status = 'active'"
OPEN_JOBS = "SELECT count(*) FROM provider_jobs WHERE status IN ('submitting', 'submitted', 'ready')"
LEASES = """
    SELECT (SELECT count(lease_owner) FROM evaluation_batches) + (SELECT count(lease_owner) FROM reading_leases)
"""
END_STATE = {
    "batches": "SELECT status, count(*) FROM evaluation_batches GROUP BY 1",
    "runs": "SELECT status, count(*) FROM question_runs GROUP BY 1",
    "evaluations": "SELECT count(*), count(DISTINCT (question_run_id, org_id)) FROM org_evals",
    "charges": "SELECT count(*), count(DISTINCT (source_id, org_id)) FROM partner_usage_ledger WHERE kind = 'charge'",
    "brands": "SELECT read_at IS NOT NULL, count(*) FROM brand_readings GROUP BY 1",
    "active holds": ACTIVE_HOLDS,
    "open jobs": OPEN_JOBS,
    "leases": LEASES,
}
BOOKS = """
    SELECT balance.current_balance
         - (SELECT coalesce(sum(amount), 0) FROM credit_top_ups up WHERE up.payer_id = balance.payer_id)
         - (SELECT coalesce(sum(amount), 0) FROM partner_usage_ledger entry WHERE entry.payer_id = balance.payer_id)
    FROM credit_balances balance
"""


def execute(database: Database, statement: str, **parameters: Any) -> None:
    with database.transaction() as session:
        session.execute(text(statement), parameters)


def rows(database: Database, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query as tuples."""
    with database.transaction() as session:
        return [tuple(row) for row in session.execute(text(statement), parameters)]


def value(database: Database, statement: str, **parameters: Any) -> Any:
    """Return the one value of a query."""
    return rows(database, statement, **parameters)[0][0]


def books(database: Database) -> set[Decimal]:
    """Return, over all payers, what balance − top-ups − ledger leaves: {0} when the books are exact."""
    return {difference for (difference,) in rows(database, BOOKS)}


def end_state(database: Database) -> dict[str, Any]:
    """Return the counts that a run leaves behind, and the books."""
    return {**{name: sorted(rows(database, query)) for name, query in END_STATE.items()}, "books": books(database)}


def undisturbed(answers: int, orgs: int = 1, *, shared: bool = False) -> dict[str, Any]:
    """Return the end state of a run that nothing disturbed; `shared`: the answers' brands are read apart."""
    return {
        "batches": [("completed", 1)],
        "runs": [("answered", answers)],
        "evaluations": [(answers * orgs, answers * orgs)],
        "charges": [(answers * orgs, answers * orgs)],
        "brands": [(True, answers)] if shared else [],
        "active holds": [(0,)],
        "open jobs": [(0,)],
        "leases": [(0,)],
        "books": {0},
    }
