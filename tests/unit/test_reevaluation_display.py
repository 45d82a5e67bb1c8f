"""How the comparison of two extractor versions is shown."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

from rich.console import Console

from visibility.reevaluation import Comparison, Drift, MentionChange, ReevaluationSummary
from visibility.reevaluation_display import headline, print_reevaluation, reevaluation_as_markdown

RUN = UUID(int=7)
DRIFT = Drift(n=59, old=0.12, new=0.131, difference=0.011, low=-0.002, high=0.024)


def summary(drift: Drift = DRIFT, pairs: int = 60, **changes: Any) -> ReevaluationSummary:
    change = MentionChange(
        question_run_id=RUN, org_name="Ash|ford\x1b[2J", change="lost", old_reason="verified", new_reason="name_absent"
    )
    compared = Comparison(
        pairs=pairs, gained=0, lost=1, mentioned_twice=40, hidden=0, sentiments={"neutral->positive": 3},
        share_of_voice=drift, examples=[change],
    )  # fmt: skip
    values: dict[str, Any] = {
        "scope": "network", "owner_id": UUID(int=1), "owner_name": "Trades *League*", "flow_run_id": None,
        "since": date(2026, 10, 24), "until": date(2026, 11, 23), "status": "completed", "reason": None, "note": None,
        "sandbox": True, "orgs": 2, "current": 4, "found": 60, "reevaluated": 58, "failed": {"llm_refused": 2},
        "old_versions": {"1.1-a-gpt-4.1": 60}, "new_version": "1.2-b-gpt-6-luna", "comparison": compared,
        "llm_calls": 61, "llm_tokens": 70_000, "llm_cost_usd": Decimal("0.0123"), "duration_seconds": 4.25,
    }  # fmt: skip
    return ReevaluationSummary(**{**values, **changes})


def printed(shown: ReevaluationSummary) -> str:
    page = StringIO()
    print_reevaluation(shown, {"Prefect UI": "http://127.0.0.1:4200"}, Console(file=page, width=110))
    return page.getvalue()


def test_the_page_tells_versions_differences_examples_and_that_nobody_is_charged() -> None:
    page = printed(summary())
    assert "Re-evaluation of network Trades *League*, 2026-10-24 to 2026-11-23" in page
    assert "58 of 60 evaluations read again · 4 were at the current version · failed: 2 llm_refused" in " ".join(
        page.split()
    )
    assert "12.0% -> 13.1%, +1.1 points [-0.2 to +2.4]" in page and "59 pairs (answer, org)" in page
    assert "neutral -> positive" in page and "3 answers" not in page and str(RUN) in page
    assert "1.1-a-gpt-4.1" in page and "1.2-b-gpt-6-luna" in page
    assert "0.0123 USD (61 calls, 70000 tokens) · nobody is charged · 4.2 s" in page
    assert "SIMULATED" in page and "\x1b" not in page


def test_markdown_shows_untrusted_names_as_text_and_the_reason_of_a_failure() -> None:
    shown = reevaluation_as_markdown(summary(status="failed", reason="Only 1 of 60 evaluations could be read again."))
    assert "Trades \\*League\\*" in shown and "Ash\\|ford" in shown and "\x1b" not in shown
    assert "**Only 1 of 60 evaluations could be read again.**" in shown


def test_nothing_to_do_is_said_and_no_empty_table_is_shown() -> None:
    nothing = {"found": 0, "reevaluated": 0, "failed": {}, "old_versions": {}, "sandbox": False}
    shown = summary(Drift(n=0, reason="no pair"), 0, note="all 120 evaluations are at the current version", **nothing)
    assert headline(shown) == "completed · all 120 evaluations are at the current version"
    assert "Old against new" not in printed(shown)


def test_a_drift_without_an_interval_says_why() -> None:
    page = printed(summary(Drift(n=3, old=0.5, new=0.25, difference=-0.25, reason="no interval: one question")))
    assert "50.0% -> 25.0%, -25.0 points (no interval: one question)" in page
