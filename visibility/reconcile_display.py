"""How what reconcile did is shown: a table in the Prefect UI, a page in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from visibility.display import NOTHING, origin, print_next_steps, printable, table, terminal
from visibility.reconcile import Action, ReconcileSummary, What

DONE: dict[What, str] = {
    "resume": "resumed",
    "adopt": "adopted",
    "read": "read",
    "settle": "settled",
    "release": "released",
    "close": "closed",
}
UNITS: dict[What, str] = {
    "resume": "answers",
    "adopt": "answers",
    "read": "evaluations",
    "settle": "charges",
    "release": "holds",
    "close": "",
}


def print_reconcile(summary: ReconcileSummary, next_steps: Mapping[str, str], console: Console | None = None) -> None:
    """Print what reconcile found and did for a person."""
    console = console or terminal()
    console.print(
        f"\nReconcile of what was left since {summary.since:%Y-%m-%d %H:%M} UTC · {reconcile_headline(summary)}"
    )
    if summary.actions:
        console.print()
        console.print(table(action_rows(summary)))
    print_next_steps(console, next_steps)


def reconcile_headline(summary: ReconcileSummary) -> str:
    """Say in one line what was done, or what is to be done."""
    words = DONE if not summary.dry_run else {what: f"to {what}" for what in DONE}
    told = [f"{number} {words[what]}" for what, number in summary.counts.items()] or ["nothing was left"]
    failed = sum(action.failed for action in summary.actions)
    if failed:
        told.append(f"{failed} could not be done")
    return " · ".join(told) + origin(summary.sandbox)


def action_rows(summary: ReconcileSummary) -> list[dict[str, str]]:
    """Return one row per action."""
    return [_row(action) for action in summary.actions]


def _row(action: Action) -> dict[str, str]:
    return {
        "what": action.what,
        "whose": printable(action.subject),
        "date": NOTHING if action.run_date is None else action.run_date.isoformat(),
        "number": NOTHING if action.number is None else f"{action.number} {UNITS[action.what]}".strip(),
        "USD": NOTHING if action.amount_usd is None else str(action.amount_usd),
        "result": printable(action.result),
        "id": str(action.batch_id or action.subject_id),
    }
