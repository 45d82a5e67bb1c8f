"""A result as a person sees it: figures with what they rest on, untrusted names as plain text."""

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

from visibility.display import (
    as_markdown,
    escaped,
    figure_rows,
    group_rows,
    headline,
    print_summary,
    printable,
    result_rows,
    top_rows,
    tops,
)
from visibility.metrics import Figure
from visibility.summary import Counted, Named, OrgEvaluationSummary

NASTY = "[bold]A|B[/bold] <script>x</script> [link](http://evil.example) :smile: \x1b[31mred\nnext"


def figure(name: str, value: float | None, n: int, unit: str, **more: Any) -> Figure:
    return Figure(name=name, value=value, n=n, unit=unit, **{"low": None, "high": None, "coverage": 1.0, **more})


def figures(n: int = 20) -> dict[str, Figure]:
    listed = [
        figure("coverage", 1.0, n, "expected runs"),
        figure("mention_rate", 0.625, n, "evaluated answers", low=0.49, high=0.73),
        figure("share_of_voice_by_text", 0.07, n, "evaluated answers", low=0.05, high=0.09),
        figure("share_of_voice_by_mentions", 0.08, 450, "namings of any brand"),
        figure("average_rank", 4.27, 13, "ranked mentions", low=3.67, high=4.94),
        figure("sentiment_index", -0.14, 13, "judged mentions", low=-0.4, high=0.1),
        figure("owned_citation_rate", None, 0, "grounded answers", reason="no answer is known to have searched"),
    ]
    return {each.name: each for each in listed}


def summary(**changes: Any) -> OrgEvaluationSummary:
    values: dict[str, Any] = {
        "batch_id": UUID(int=1), "flow_run_id": UUID(int=2), "org_id": UUID(int=3), "org_name": "Northwind Heating",
        "run_date": date(2026, 11, 23), "status": "completed", "reason": None, "sandbox": True, "expected": 60,
        "answered": 60, "failed": {}, "coverage": 1.0, "evaluated": 60, "unevaluated": 0, "mentioned": 37,
        "competitors": 9, "citations": 20, "vendor_cost_usd": Decimal("0.09"), "llm_calls": 61, "llm_tokens": 75708,
        "llm_cost_usd": Decimal("0.0092"), "charged_usd": Decimal("0.1652"), "charges": 60, "payer": "ORG 3",
        "duration_seconds": 7.7, "figures": figures(60),
        "by_model": {"chatgpt": figures(), "gemini": figures(), "perplexity": figures()},
        "by_location": {"Toronto, Ontario, CA": figures(), "US": figures()},
        "top_competitors": [Counted(name="Summit Boiler Works", answers=28, n=60)],
        "top_domains": [Counted(name="citybeacon.example", answers=34, n=60)],
    }  # fmt: skip
    return OrgEvaluationSummary(**{**values, **changes})


def empty() -> OrgEvaluationSummary:
    nothing = {"coverage": figure("coverage", None, 0, "expected runs", coverage=None, reason="no run was expected")}
    return summary(
        expected=0, answered=0, coverage=None, evaluated=0, payer=None, figures=nothing, by_model={}, by_location={},
        top_competitors=[], top_domains=[], duration_seconds=None,
    )  # fmt: skip


def printed(shown: OrgEvaluationSummary, width: int = 80) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, emoji=False)
    print_summary(shown, {"Prefect UI": f"http://127.0.0.1:4200/runs/flow-run/{shown.flow_run_id}"}, console)
    return output.getvalue()


@pytest.mark.parametrize("width", [80, 110, 120])
def test_nothing_is_cut_off_at_the_widths_of_terminals(width: int) -> None:
    text = printed(summary(), width)
    assert "…" not in text
    tables = [line for line in text.splitlines() if not line.startswith("Prefect UI")]
    assert max(map(len, tables)) <= width
    for word in ("perplexity", "Ontario,", "sentiment", "[49%–73%]", "n=450", "Summit Boiler Works"):
        assert word in text


def test_simulated_results_say_so_first() -> None:
    assert "SIMULATED" in printed(summary(), 120).splitlines()[1]
    assert "SIMULATED" in as_markdown(summary()).split("\n\n")[1]
    assert "SIMULATED" not in printed(summary(sandbox=False))


def test_every_figure_has_value_n_unit_and_coverage() -> None:
    rows = {row["all models"]: row for row in figure_rows(summary())}
    assert rows["mention rate"] == {
        "all models": "mention rate", "value": "62%", "95 % interval": "49% to 73%", "n": "60 evaluated answers",
        "coverage": "100%",
    }  # fmt: skip
    assert rows["average rank"]["value"] == "4.27" and rows["average rank"]["n"] == "13 ranked mentions"
    assert all(row["n"].split()[0].isdigit() and len(row["n"].split()) > 1 for row in rows.values())


def test_every_figure_of_a_model_has_its_n() -> None:
    for row in group_rows(summary()):
        cells = [cell for title, cell in row.items() if title != "model or location"]
        assert all("n=" in cell or cell == "–" for cell in cells)


def test_a_figure_without_a_denominator_gives_its_reason_not_a_zero() -> None:
    row = next(row for row in figure_rows(summary()) if row["all models"] == "owned citation rate")
    assert row["value"] == "– (no answer is known to have searched)"


def test_a_batch_without_questions_is_shown_without_zero_divisions_or_empty_tables() -> None:
    text = printed(empty())
    assert "coverage – (0 of 0 answers)" in text and "no run was expected" in text
    assert "Top" not in text and "nobody" in text and "None" not in text
    assert "None" not in as_markdown(empty())


def test_what_is_missing_is_said_in_the_headline() -> None:
    line = headline(summary(answered=50, coverage=50 / 60, failed={"timeout": 10}, unevaluated=2))
    assert "coverage 83% (50 of 60 answers)" in line
    assert "missing: 10 timeout" in line and "2 answers could not be read" in line


def test_answers_from_another_country_are_said_in_the_headline() -> None:
    assert "2 answered from another country" in headline(summary(answered_elsewhere=2))
    assert "another country" not in headline(summary())


def test_competitors_and_domains_stand_beside_each_other_per_model() -> None:
    gemini = Named(competitors=[Counted(name="Polar & Sons", answers=9, n=20)], domains=[])
    shown = summary(named_by_model={"gemini": gemini})
    competitors, domains = tops(shown).values()
    assert top_rows(competitors, str) == [{"all models": "28/60 Summit Boiler Works", "gemini": "9/20 Polar & Sons"}]
    assert top_rows(domains, str) == [{"all models": "34/60 citybeacon.example", "gemini": ""}]
    assert "9/20 Polar & Sons" in printed(shown, 120)


def test_the_table_of_results_has_a_row_per_model_and_location() -> None:
    rows = result_rows(summary(by_model_and_location={"gemini · US": figures()}))
    assert [row["model or location"] for row in rows][-1] == "gemini · US"


def test_untrusted_names_do_not_steer_the_terminal() -> None:
    shown = summary(org_name=NASTY, top_competitors=[Counted(name=NASTY, answers=1, n=60)])
    text = printed(shown, 200)
    assert "\x1b" not in text
    assert "[bold]A|B[/bold]" in text and ":smile:" in text


def test_untrusted_names_are_plain_text_in_markdown() -> None:
    shown = summary(
        org_name=NASTY,
        top_competitors=[Counted(name=NASTY, answers=1, n=60)],
        top_domains=[Counted(name="a|b.example", answers=1, n=60)],
    )
    html = MarkdownIt("commonmark").enable("table").render(as_markdown(shown))
    assert "<script" not in html and "<a " not in html and "<img" not in html
    assert html.count("<td>") == html.count("</td>")
    assert unescape(html).count(printable(NASTY)) == 2
    assert "<td>1/60 a|b.example</td>" in html


@pytest.mark.parametrize("sign", list("|[]<>*_`#~\\!&{}"))
def test_every_sign_of_markdown_is_shown_as_itself(sign: str) -> None:
    html = MarkdownIt("commonmark").render(f"x {escaped(sign * 2)} y")
    assert unescape(html) == f"<p>x {sign * 2} y</p>\n"
