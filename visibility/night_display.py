"""How a night is shown: a page in the terminal, Markdown and a table of who was not done in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from visibility.display import (
    escaped,
    markdown_table,
    origin,
    percent,
    print_next_steps,
    printable,
    table,
    terminal,
)
from visibility.night import NightSummary

SHOWN = 100  # of those not done on a page; the table artifact and --json have them all


def print_night(summary: NightSummary, next_steps: Mapping[str, str], console: Console | None = None) -> None:
    """Print the result of a night for a person."""
    console = console or terminal()
    console.print(f"\n{summary.run_date:%A %Y-%m-%d} · {night_headline(summary)}\n", style="bold")
    if summary.failed:
        console.print(table(not_done_rows(summary)[:SHOWN]))
        console.print()
    console.print(night_runs_line(summary))
    console.print(night_money_line(summary))
    print_next_steps(console, next_steps)


def night_as_markdown(summary: NightSummary) -> str:
    """Return the summary as Markdown for a Prefect artifact."""
    parts = [
        f"# {summary.what.capitalize()} of {summary.run_date:%A %Y-%m-%d}",
        night_headline(summary),
        f"**{escaped(summary.reason)}**" if summary.reason else "",
        markdown_table(not_done_rows(summary)[:SHOWN]),
        night_runs_line(summary),
        night_money_line(summary),
    ]
    return "\n\n".join(filter(None, parts))


def night_headline(summary: NightSummary) -> str:
    """Say in one line how many are done, and how many answers came back."""
    if not summary.scheduled:
        return f"{summary.status} · {summary.what} scheduled: none{origin(summary.sandbox)}"
    before = f", {summary.done_before:,} done before" if summary.done_before else ""
    failed = f", {len(summary.failed):,} not done" if summary.failed else ""
    who = f"{summary.what} scheduled: {summary.scheduled:,} ({summary.completed:,} done now{before}{failed})"
    return (
        f"{summary.status} · {who} · coverage {percent(summary.coverage)} "
        f"({summary.answered:,} of {summary.expected:,} answers){origin(summary.sandbox)}"
    )


def night_runs_line(summary: NightSummary) -> str:
    """Say where the flow runs were, and how many of them."""
    where = "on the work pool" if summary.spawn == "deployment" else "in this process"
    awaited = f", {summary.awaited:,} found under way" if summary.awaited else ""
    return f"flow runs {where}: {summary.started:,} started{awaited} · {summary.duration_seconds:.1f} s"


def night_money_line(summary: NightSummary) -> str:
    """Say what the batches of the day cost and what was charged for them, USD, whoever worked on them."""
    return (
        f"batches of the day: answers {summary.vendor_cost_usd:.4f} USD, reading {summary.llm_cost_usd:.4f} USD · "
        f"charged {summary.charged_usd:.4f} USD"
    )


def not_done_rows(summary: NightSummary) -> list[dict[str, str]]:
    """Return one row for each that could not be done."""
    return [
        {"not done": printable(one.name), "reason": printable(one.reason), "id": str(one.owner_id)}
        for one in summary.failed
    ]
