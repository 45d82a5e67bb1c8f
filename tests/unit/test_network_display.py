"""A network's result as a person sees it: every member, what the figures rest on, untrusted names as plain text."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from visibility.display import printable
from visibility.metrics import Figure
from visibility.network_display import (
    leaderboard_rows,
    network_as_markdown,
    network_headline,
    print_network_org_summary,
    print_network_summary,
    reading_as_markdown,
    reading_headline,
)
from visibility.network_summary import Child, Cited, NetworkOrgSummary, NetworkSummary, Standing, children_reason
from visibility.summary import Counted

NASTY = "[bold]A|B[/bold] <script>x</script> [link](http://evil.example) :smile: \x1b[31mred\nnext"
RATE = Figure("mention_rate", 0.55, 20, "evaluated answers", 0.34, 0.74, 1.0)


def standing(name: str, *, evaluated: int = 20, left: bool = False) -> Standing:
    listed = [
        RATE,
        Figure("share_of_voice_by_mentions", 0.08, 140, "namings of any brand", 0.05, 0.1, 1.0),
        Figure("average_rank", 2.27, 11, "ranked mentions", 1.5, 3.0, 1.0),
        Figure("sentiment_index", -0.14, 11, "judged mentions", -0.4, 0.1, 1.0),
        Figure("owned_citation_rate", 0.1, 20, "grounded answers", 0.03, 0.3, 1.0),
    ]
    nothing = [Figure(each.name, None, 0, each.unit, None, None, 1.0, "no answer was evaluated") for each in listed]
    figures = {figure.name: figure for figure in (listed if evaluated else nothing)}
    return Standing(org_id=UUID(int=5), name=name, left=left, evaluated=evaluated, mentioned=11, figures=figures)


def network(**changes: Any) -> NetworkSummary:
    values: dict[str, Any] = {
        "batch_id": UUID(int=1), "flow_run_id": None, "network_id": UUID(int=3), "network_name": "Prairie League",
        "run_date": date(2026, 11, 23), "status": "completed", "reason": None, "sandbox": True, "expected": 24,
        "answered": 20, "failed": {"timeout": 4}, "coverage": 20 / 24, "answered_elsewhere": 0, "members": 2,
        "evaluations": 20, "expected_evaluations": 40, "vendor_cost_usd": Decimal("0.03"), "llm_calls": 31,
        "llm_tokens": 40000, "llm_cost_usd": Decimal("0.005"), "charged_usd": Decimal("1.0"), "charges": 20,
        "payers": ["PARTNER 7"], "duration_seconds": 4.2,
        "children": [
            Child(org_id=UUID(int=5), org_name="Community Financial", state="completed"),
            Child(org_id=UUID(int=6), org_name="Financial Union", state="failed", reason="The balance is empty."),
        ],
        "leaderboard": [
            standing("Community Financial"), standing("Former", left=True), standing("Financial Union", evaluated=0),
        ],
        "top_domains": [
            Cited(name="community.example", answers=9, n=20, citations=12, members=["Community Financial"]),
            Cited(name="news.example", answers=4, n=20, citations=4, members=[]),
        ],
        "top_competitors": [Counted(name="Big Bank", answers=17, n=20)],
    }  # fmt: skip
    return NetworkSummary(**{**values, **changes})


def nothing_at_all() -> NetworkSummary:
    return network(
        expected=0, answered=0, coverage=None, failed={}, members=0, evaluations=0, expected_evaluations=0, payers=[],
        charges=0, children=[], leaderboard=[], top_domains=[], top_competitors=[], duration_seconds=None,
    )  # fmt: skip


def reading(**changes: Any) -> NetworkOrgSummary:
    values: dict[str, Any] = {
        "org_id": UUID(int=5), "org_name": "Community Financial", "network_id": UUID(int=3), "flow_run_id": None,
        "since": date(2026, 11, 1), "status": "completed", "reason": None, "sandbox": True, "found": 5,
        "evaluated_now": 4, "failed": {"llm_refused": 1}, "batches": 2, "answered": 21, "evaluated": 20,
        "mentioned": 11, "competitors": 40, "citations": 60, "coverage": 20 / 21, "mention_rate": RATE, "llm_calls": 4,
        "llm_cost_usd": Decimal("0.001"), "charged_usd": Decimal("0.2"), "charges": 4, "duration_seconds": None,
    }  # fmt: skip
    return NetworkOrgSummary(**{**values, **changes})


def printed(shown: NetworkSummary | NetworkOrgSummary, width: int = 110) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, emoji=False)
    if isinstance(shown, NetworkSummary):
        print_network_summary(shown, {"rows": "select 1"}, console)
    else:
        print_network_org_summary(shown, {"rows": "select 1"}, console)
    return output.getvalue()


def as_html(markdown: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(markdown)


@pytest.mark.parametrize("width", [80, 110])
def test_nothing_is_cut_off_at_the_widths_of_terminals(width: int) -> None:
    text = printed(network(), width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    for word in ("Community", "[34%–74%]", "n=140", "Big Bank", "The balance is empty.", "PARTNER 7", "rows: select 1"):
        assert word in text


def test_every_figure_has_its_n_and_a_member_that_was_not_evaluated_has_dashes() -> None:
    first, left, last = leaderboard_rows(network())
    assert first == {
        "#": "1", "member": "Community Financial", "answers read": "20 of 20", "mentioned": "55% [34%–74%] n=20",
        "voice: names": "8% n=140", "rank": "2.27 n=11", "sentiment": "-0.14 n=11", "own site cited": "10% n=20",
    }  # fmt: skip
    assert left["member"] == "Former (has left)"
    assert list(last.values()) == ["–", "Financial Union", *["–"] * 6]


def test_the_headline_says_coverage_of_answers_and_evaluations_failures_and_the_sandbox() -> None:
    assert network_headline(network()) == (
        "completed · coverage 83% (20 of 24 answers) · missing: 4 timeout · 20 of 40 evaluations for 2 members"
        " · failed: 1 of 2 · SIMULATED (sandbox)"
    )
    assert "SIMULATED" not in network_headline(network(sandbox=False)) + printed(network(sandbox=False))
    assert "SIMULATED" in as_html(network_as_markdown(network())).split("</p>")[0]


def test_own_sites_of_members_are_marked_with_the_member() -> None:
    html = as_html(network_as_markdown(network()))
    assert "<td>9/20</td>\n<td>12</td>\n<td>community.example</td>\n<td>Community Financial</td>" in html
    assert "<td>news.example</td>\n<td></td>" in html


def test_a_network_without_members_and_answers_is_shown_without_tables_or_nones() -> None:
    for page in (printed(nothing_at_all()), network_as_markdown(nothing_at_all())):
        assert "coverage – (0 of 0 answers) · 0 of 0 evaluations for 0 members" in page
        assert "None" not in page and "Leaderboard" not in page and "nobody" in page


def test_untrusted_names_are_plain_text_everywhere() -> None:
    shown = network(
        network_name=NASTY,
        reason=f"Failed: {NASTY}",
        leaderboard=[standing(NASTY)],
        children=[Child(org_id=UUID(int=5), org_name=NASTY, state="failed", reason=NASTY)],
        top_domains=[Cited(name=NASTY, answers=1, n=20, citations=1, members=[NASTY])],
        top_competitors=[Counted(name=NASTY, answers=1, n=20)],
    )
    html = as_html(network_as_markdown(shown))
    assert "<script" not in html and "<a " not in html and html.count("<td>") == 8 + 3 + 4 + 2
    assert unescape(html).count(printable(NASTY)) == 8
    text = printed(shown, 600)
    assert "\x1b" not in text and text.count(printable(NASTY)) == 8 and "[bold]A|B[/bold]" in text


def test_a_reading_says_what_was_missing_and_what_it_came_to() -> None:
    assert reading_headline(reading()) == (
        "completed · 4 of 5 missing answers read · failed: 1 llm_refused · SIMULATED (sandbox)"
    )
    assert "nothing was missing" in reading_headline(reading(found=0, evaluated_now=0, failed={}))
    text = printed(reading())
    for word in ("since 2026-11-01", "20 of 21 (95%)", "55% [34%–74%] n=20", "charged 0.2000 USD for 4 evaluations"):
        assert word in text
    nothing = Figure("mention_rate", None, 0, "evaluated answers", None, None, None, "no answer was evaluated")
    empty = reading_as_markdown(reading(mention_rate=nothing, coverage=None, org_name=NASTY, reason=NASTY))
    assert "– (no answer was evaluated)" in empty and "None" not in empty
    assert unescape(as_html(empty)).count(printable(NASTY)) == 2 and "<a " not in as_html(empty)


def test_children_that_failed_are_named_up_to_five() -> None:
    children = [Child(org_id=UUID(int=n), org_name=f"Org {n}", state="failed") for n in range(8)]
    assert (
        "8 of 8 members could not be evaluated (threshold 20%): Org 0, Org 1, Org 2, Org 3, Org 4 and 3 more."
        in str(children_reason(children, 0.2))
    )
    assert children_reason(children, 1) is None and children_reason([], 0) is None
