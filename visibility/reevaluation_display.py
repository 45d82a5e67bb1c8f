"""How a comparison of extractor versions is shown: a page in the terminal, Markdown in the Prefect UI."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console

from visibility.display import (
    NOTHING,
    escaped,
    failures,
    markdown_table,
    origin,
    print_next_steps,
    printable,
    table,
    terminal,
)
from visibility.reevaluation import Drift, ReevaluationSummary

Clean = Callable[[str], str]


def print_reevaluation(
    summary: ReevaluationSummary, next_steps: Mapping[str, str], console: Console | None = None
) -> None:
    """Print what a re-evaluation changed for a person."""
    console = console or terminal()
    console.print(f"\n{title_of(summary, printable)} · {headline(summary)}\n", style="bold")
    for name, rows in tables_of(summary).items():
        console.print(f"{name}", style="bold")
        console.print(table(rows))
        console.print()
    console.print(cost_line(summary))
    print_next_steps(console, next_steps)


def reevaluation_as_markdown(summary: ReevaluationSummary) -> str:
    """Return the summary as Markdown for a Prefect artifact."""
    parts = [f"# {title_of(summary, escaped)}", headline(summary)]
    if summary.reason:
        parts.append(f"**{escaped(summary.reason)}**")
    for name, rows in tables_of(summary).items():
        parts += [f"## {name}", markdown_table(rows)]
    return "\n\n".join([*parts, cost_line(summary)])


def title_of(summary: ReevaluationSummary, clean: Clean) -> str:
    """Name whose answers of which days were read again."""
    kind = "network " if summary.scope == "network" else ""
    return f"Re-evaluation of {kind}{clean(summary.owner_name)}, {summary.since} to {summary.until}"


def headline(summary: ReevaluationSummary) -> str:
    """Say in one line what was read again, what failed, or that there was nothing to do."""
    done = [f"{summary.reevaluated} of {summary.found} evaluations read again"] if summary.found else []
    if summary.found and summary.current:
        done.append(f"{summary.current} were at the current version")
    told = " · ".join([summary.status, *done, *([summary.note] if summary.note else [])])
    return f"{told}{failures('failed', summary.failed)}{origin(summary.sandbox)}"


def tables_of(summary: ReevaluationSummary) -> dict[str, list[dict[str, str]]]:
    """Return the tables by title; one without rows is left out."""
    tables = {
        "Versions": version_rows(summary),
        "Old against new": comparison_rows(summary),
        "Sentiment changes": sentiment_rows(summary),
        "Changed mentions": example_rows(summary),
    }
    return {title: rows for title, rows in tables.items() if rows}


def version_rows(summary: ReevaluationSummary) -> list[dict[str, str]]:
    """Return one row per old version, the newest evaluation of each pair counted, and one for the new version."""
    if not summary.old_versions:
        return []
    old = [{"version": name, "evaluations": f"{number} old"} for name, number in summary.old_versions.items()]
    return [*old, {"version": summary.new_version, "evaluations": f"{summary.comparison.pairs} beside them"}]


def comparison_rows(summary: ReevaluationSummary) -> list[dict[str, str]]:
    """Return one row per kind of difference, with n; empty when no pair has both versions."""
    compared = summary.comparison
    if not compared.pairs:
        return []
    pairs = f"{compared.pairs} pairs (answer, org)"
    changed = sum(compared.sentiments.values())
    drift = compared.share_of_voice
    return [
        {"difference": "mentions gained", "value": str(compared.gained), "n": pairs},
        {"difference": "mentions lost", "value": str(compared.lost), "n": pairs},
        {"difference": "sentiment changed", "value": str(changed), "n": f"{compared.mentioned_twice} named in both"},
        {"difference": "share of voice by text", "value": drift_text(drift), "n": f"{drift.n} pairs (answer, org)"},
    ]


def drift_text(drift: Drift) -> str:
    """Write old and new mean in percent and the difference in percentage points with its interval."""
    if drift.old is None or drift.new is None or drift.difference is None:
        return f"{NOTHING} ({drift.reason})"
    interval = f" ({drift.reason})"
    if drift.low is not None and drift.high is not None:
        interval = f" [{_points(drift.low)} to {_points(drift.high)}]"
    return f"{drift.old:.1%} -> {drift.new:.1%}, {_points(drift.difference)} points{interval}"


def sentiment_rows(summary: ReevaluationSummary) -> list[dict[str, str]]:
    """Return one row per pair of old and new sentiment that differ."""
    changes = summary.comparison.sentiments
    return [{"old -> new": change.replace("->", " -> "), "answers": str(number)} for change, number in changes.items()]


def example_rows(summary: ReevaluationSummary) -> list[dict[str, str]]:
    """Return the listed answers whose mention has changed."""
    return [
        {
            "mention": example.change,
            "organisation": printable(example.org_name),
            "old reason": example.old_reason,
            "new reason": example.new_reason,
            "question run": str(example.question_run_id),
        }
        for example in summary.comparison.examples
    ]


def cost_line(summary: ReevaluationSummary) -> str:
    """Say what reading cost us, USD; nobody is charged for it."""
    return (
        f"cost: {summary.llm_cost_usd:.4f} USD ({summary.llm_calls} calls, {summary.llm_tokens} tokens) · "
        f"nobody is charged · {summary.duration_seconds:.1f} s"
    )


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
