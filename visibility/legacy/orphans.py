"""Rows of the old system that hang on nothing that is taken over: nobody reads them, so they are counted and told."""

from __future__ import annotations

from uuid import UUID

from visibility.legacy.report import OURS, Report
from visibility.legacy.source import LegacyDatabase
from visibility.legacy.tenants import Tenants

ORPHANS = (  # what, the column that refers, where the other end should be, what is told
    ("question_runs", "batch_id", ("org_batches", "network_batches"), "of no batch"),
    ("evaluations", "question_run_id", ("question_runs",), "of no question run"),
    ("network_evaluations", "question_run_id", ("question_runs",), "of no question run"),
    ("ledger", "question_run_id", ("question_runs",), "of no question run; the balance has them in it"),
)


def tell_orphans(source: LegacyDatabase, tenants: Tenants, report: Report) -> None:
    """Report how many rows of each kind hang on nothing."""
    for name, column, parents, told in ORPHANS:
        ends = " UNION ALL ".join(
            f"SELECT lower(CAST({column} AS text)) AS id FROM ({source.select(parent)}) AS {parent}"
            for parent in parents
        )
        _tell(source, name, column, ends, [], told, report)
    owners = {"org_batches": tenants.orgs, "network_batches": tenants.networks}
    for name, by_partner in owners.items():
        key = "org_id" if name == "org_batches" else "network_id"
        known: list[UUID] = [row[key] for rows in by_partner.values() for row in rows]
        ends = "SELECT unnest(CAST(:known AS text[])) AS id"
        _tell(source, name, "owner_id", ends, known, "of orgs or networks that are not taken over", report)


def _tell(
    source: LegacyDatabase, name: str, column: str, ends: str, known: list[UUID], told: str, report: Report
) -> None:
    statement = f"""
        WITH every AS (SELECT lower(CAST({column} AS text)) AS id FROM ({source.select(name)}) AS given)
        SELECT count(*) AS number FROM every WHERE NOT EXISTS (SELECT FROM ({ends}) AS ends WHERE ends.id = every.id)
    """
    parameters = {"known": [str(one) for one in known]} if ":known" in ends else {}
    (row,) = source.query(statement, parameters)
    if row.number:
        report.skip(OURS.get(name, name), f"{row.number} rows", told, rows=row.number)
