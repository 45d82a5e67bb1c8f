"""When a batch counts as failed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from visibility.store.summaries import BatchTotals
from visibility.summary import failure_reason

NOBODY = UUID(int=0)


def totals(expected: int, answered: int, evaluated: int | None = None) -> BatchTotals:
    return BatchTotals(
        batch_id=NOBODY, scope="org", owner_id=NOBODY, name="Northwind", flow_run_id=None, run_date=date(2026, 11, 23),
        status="running", error=None, sandbox=True, started_at=None, completed_at=None,
        expected=expected, answered=answered, answered_elsewhere=0, failed={"blocked": expected - answered},
        evaluated=answered if evaluated is None else evaluated, mentioned=0, competitors=0, citations=0,
        vendor_cost_usd=Decimal(0), llm_calls=0, llm_tokens=0, llm_cost_usd=Decimal(0), charged_usd=Decimal(0),
        charges=0, payers=(), members=1, evaluated_orgs=1,
    )  # fmt: skip


@pytest.mark.parametrize("percent", range(101))
def test_a_batch_exactly_at_the_threshold_is_completed(percent: int) -> None:
    threshold = percent / 100
    assert failure_reason(totals(100, percent), threshold) is None
    assert failure_reason(totals(1700, percent * 17, percent * 17), threshold) is None
    assert failure_reason(totals(100, 100, percent), threshold) is None
    if percent:
        assert "answers came back" in str(failure_reason(totals(100, percent - 1), threshold))
        assert "could be read" in str(failure_reason(totals(100, 100, percent - 1), threshold))


def test_nothing_expected_is_no_failure() -> None:
    assert failure_reason(totals(0, 0), 1.0) is None


def test_answers_that_are_all_missing_fail_the_batch() -> None:
    assert "Only 0 of 60" in str(failure_reason(totals(60, 0), 0.8))
