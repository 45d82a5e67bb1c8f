"""How the load report is shown: a page in the terminal, Markdown and a table in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from rich.console import Console

from visibility.display import (
    NOTHING,
    escaped,
    markdown_table,
    narrow,
    print_next_steps,
    printable,
    table,
    terminal,
)
from visibility.load_report import LoadReport, RecommendedMove, WeekdayLoad

SHOWN_MOVES = 25  # on a page; the result of the flow and --json have all


def print_load_report(report: LoadReport, next_steps: Mapping[str, str], console: Console | None = None) -> None:
    """Print the week and what to move for a person."""
    console = console or terminal()
    console.print(f"\n{load_headline(report)}\n", style="bold")
    for title, rows in _tables(report).items():
        console.print(title, style="bold")
        console.print(table(narrow([{name: printable(cell) for name, cell in row.items()} for row in rows])))
        console.print()
    console.print(cost_basis(report))
    print_next_steps(console, next_steps)


def load_as_markdown(report: LoadReport) -> str:
    """Return the report as Markdown for a Prefect artifact."""
    parts = ["# Load report", load_headline(report), f"**{escaped(report.recommendation)}**"]
    for title, rows in _tables(report).items():
        parts += [f"## {title}", markdown_table(rows)]
    return "\n\n".join([*parts, cost_basis(report)])


def load_headline(report: LoadReport) -> str:
    """Say in one line what a week asks, and whether something is to be moved."""
    answers = sum(day.answers for day in report.days)
    scheduled = f"{report.orgs:,} orgs and {report.networks:,} networks are scheduled"
    return f"{scheduled} · {answers:,} answers a week, {report.mean_answers:,.0f} a day · {report.recommendation}"


def day_rows(report: LoadReport) -> list[dict[str, str]]:
    """Return one row per weekday; those that are off the mean are marked."""
    return [_day_row(day, report) for day in report.days]


def cost_basis(report: LoadReport) -> str:
    """Say what the costs are computed from."""
    return (
        f"Expected costs: {report.price_per_answer_usd} USD per answer at the vendor, "
        f"{report.reading_cost_per_evaluation_usd} USD per evaluation for reading, charges as quoted before a run; "
        f"failed answers cost and are charged nothing."
    )


def _tables(report: LoadReport) -> dict[str, list[dict[str, str]]]:
    tables = {"Weekdays": day_rows(report)}
    if report.moves:
        tables["From day to day"] = [
            {
                "from": transfer.from_day,
                "to": transfer.to_day,
                "schedules": f"{transfer.schedules:,}",
                "answers": f"{transfer.answers:,}",
            }
            for transfer in report.transfers
        ]
        left = len(report.moves) - SHOWN_MOVES
        more = f", the {SHOWN_MOVES} largest of {len(report.moves):,}" if left > 0 else ""
        tables[f"Moves{more}"] = [_move_row(move) for move in report.moves[:SHOWN_MOVES]]
    return tables


def _day_row(day: WeekdayLoad, report: LoadReport) -> dict[str, str]:
    off = NOTHING if day.off_mean is None else f"{day.off_mean:+.0%}"
    is_off = day.off_mean is not None and abs(day.off_mean) > report.tolerance
    row = {
        "weekday": day.weekday,
        "orgs": f"{day.orgs:,}",
        "networks": f"{day.networks:,}",
        "answers": f"{day.answers:,}",
        "off mean": f"{off} !" if is_off else off,
        "vendor USD": _usd(day.vendor_cost_usd),
        "reading USD": _usd(day.reading_cost_usd),
        "charges USD": _usd(day.charges_usd),
    }
    return {**row, "answers then": f"{day.answers_after:,}"} if report.moves else row


def _move_row(move: RecommendedMove) -> dict[str, str]:
    name = f"{move.name} (network)" if move.scope == "network" else move.name
    return {"move": name, "from": move.from_day, "to": move.to_day, "answers": f"{move.answers:,}"}


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f}"
