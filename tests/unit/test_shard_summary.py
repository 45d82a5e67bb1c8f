"""What a shard comes to, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from visibility.errors import BatchFailed
from visibility.shard_display import SHOWN_ORGS, progress_line, shard_as_markdown
from visibility.shard_summary import OrgEnd, ShardSummary, summarise_shard


def ends(completed: int, failed: int) -> list[OrgEnd]:
    good = [
        OrgEnd(org_id=uuid4(), org_name=f"Org {number}", state="completed", expected=60, answered=59,
               vendor_cost_usd=Decimal("0.0885"), llm_cost_usd=Decimal("0.01"), charged_usd=Decimal("2.95"))
        for number in range(completed)
    ]  # fmt: skip
    bad = [OrgEnd(org_id=uuid4(), state="failed", reason=f"No money {number}.") for number in range(failed)]
    return good + bad


def shard(found: Sequence[OrgEnd], threshold: float = 0.2) -> ShardSummary:
    return summarise_shard(
        found,
        date(2026, 11, 23),
        sandbox=False,
        failed_orgs_threshold=threshold,
        flow_run_id=None,
        duration_seconds=1.0,
    )


@pytest.mark.parametrize(
    ("completed", "failed", "status"), [(0, 0, "completed"), (4, 1, "completed"), (3, 1, "failed")]
)
def test_a_shard_fails_when_more_than_the_threshold_of_its_orgs_have_failed(
    completed: int, failed: int, status: str
) -> None:
    summary = shard(ends(completed, failed))
    assert (summary.status, summary.completed, summary.failed) == (status, completed, failed)
    assert summary.coverage == (59 / 60 if completed else None)
    assert summary.charged_usd == completed * Decimal("2.95")
    if status == "failed":
        with pytest.raises(BatchFailed, match=r"1 of 4 orgs could not be evaluated \(.*No money 0"):
            summary.raise_if_failed()


def test_the_reason_of_a_failed_shard_names_a_few_orgs_and_counts_the_rest() -> None:
    reason = shard(ends(0, 8)).reason
    assert reason is not None and reason.count("No money") == 5 and "and 3 more" in reason


def test_a_page_shows_failed_orgs_first_and_says_how_many_it_leaves_out() -> None:
    page = shard_as_markdown(shard(ends(SHOWN_ORGS + 20, 2)))
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == SHOWN_ORGS + 1 and "failed" in rows[1] and "failed" in rows[2]
    assert "… and 22 more orgs" in page


def test_progress_says_orgs_answers_coverage_cost_and_the_expected_end() -> None:
    line = progress_line(ends(2, 1), 10, datetime(2026, 11, 23, 2, 41, tzinfo=UTC), sandbox=True)
    assert line == (
        "3 of 10 orgs done, 1 failed · 118 answers · coverage 98% · cost 0.20 USD · "
        "expected end 2026-11-23 02:41 UTC · SIMULATED (sandbox)"
    )
