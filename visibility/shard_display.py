"""How a shard is shown: a line while it runs, a page in the terminal, Markdown and a table in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console

from visibility.display import (
    NOTHING,
    escaped,
    markdown_table,
    origin,
    percent,
    print_next_steps,
    printable,
    table,
    terminal,
)
from visibility.shard_summary import OrgEnd, ShardSummary

SHOWN_ORGS = 100  # on a page; the table artifact and --json have them all


def progress_line(ends: Sequence[OrgEnd], orgs: int, expected_end: datetime | None, *, sandbox: bool) -> str:
    """Say how far a shard has come: orgs done, their answers and costs so far, when the last will be done (UTC)."""
    expected, answered = sum(end.expected for end in ends), sum(end.answered for end in ends)
    failed = sum(end.failed for end in ends)
    cost = sum(end.vendor_cost_usd + end.llm_cost_usd for end in ends)
    parts = [
        f"{len(ends):,} of {orgs:,} orgs done" + (f", {failed:,} failed" if failed else ""),
        f"{answered:,} answers",
        f"coverage {percent(answered / expected if expected else None)}",
        f"cost {cost:.2f} USD",
    ]
    end = f"expected end {expected_end:%Y-%m-%d %H:%M} UTC" if expected_end else ""
    return " · ".join(filter(None, [*parts, end])) + origin(sandbox)


def shard_headline(summary: ShardSummary) -> str:
    """Say in one line how many orgs, answers and costs."""
    failed = f", {summary.failed:,} failed" if summary.failed else ""
    return (
        f"{summary.status} · {summary.completed:,} of {summary.orgs:,} orgs completed{failed} · coverage "
        f"{percent(summary.coverage)} ({summary.answered:,} of {summary.expected:,} answers) · "
        f"{summary.evaluated:,} evaluated{origin(summary.sandbox)}"
    )


def shard_money_line(summary: ShardSummary) -> str:
    """Say what answers and reading cost and what was charged, USD, and how long it took."""
    return (
        f"cost: answers {summary.vendor_cost_usd:.4f} USD, reading {summary.llm_cost_usd:.4f} USD · "
        f"charged {summary.charged_usd:.4f} USD · {summary.duration_seconds:.1f} s"
    )


def org_rows(summary: ShardSummary) -> list[dict[str, str]]:
    """Return one row per org, those that failed first."""
    return [
        {
            "org": printable(end.org_name or str(end.org_id)),
            "state": end.state,
            "answers": f"{end.answered} of {end.expected}",
            "evaluated": str(end.evaluated),
            "vendor USD": f"{end.vendor_cost_usd:.4f}",
            "reading USD": f"{end.llm_cost_usd:.4f}",
            "charged USD": f"{end.charged_usd:.4f}",
            "reason": printable(end.reason or NOTHING),
        }
        for end in summary.ends
    ]


def shard_as_markdown(summary: ShardSummary) -> str:
    """Return the summary as Markdown for a Prefect artifact."""
    rows, more = _shown(summary)
    parts = [
        f"# {summary.orgs} orgs, {summary.run_date}",
        shard_headline(summary),
        *([f"**{escaped(summary.reason)}**"] if summary.reason else []),
        markdown_table(rows),
        more,
        shard_money_line(summary),
    ]
    return "\n\n".join(filter(None, parts))


def print_shard_summary(summary: ShardSummary, next_steps: Mapping[str, str], console: Console | None = None) -> None:
    """Print the result of a shard for a person."""
    console = console or terminal()
    rows, more = _shown(summary)
    console.print(f"\n{summary.run_date} · {shard_headline(summary)}\n", style="bold")
    console.print(table(rows))
    if more:
        console.print(more, style="dim")
    console.print(f"\n{shard_money_line(summary)}")
    print_next_steps(console, next_steps)


def _shown(summary: ShardSummary) -> tuple[list[dict[str, str]], str]:
    rows = org_rows(summary)
    left = len(rows) - SHOWN_ORGS
    return rows[:SHOWN_ORGS], f"… and {left:,} more orgs" if left > 0 else ""
