"""How a network's result is shown, and a member's: a page in the terminal, Markdown in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from visibility.display import (
    NOTHING,
    answers_line,
    cost_line,
    escaped,
    failures,
    markdown_table,
    narrow,
    origin,
    percent,
    print_next_steps,
    printable,
    show,
    table,
    terminal,
)
from visibility.network_summary import NetworkOrgSummary, NetworkSummary, Standing

COLUMNS = {
    "mention_rate": "mentioned",
    "share_of_voice_by_mentions": "voice: names",
    "average_rank": "rank",
    "sentiment_index": "sentiment",
    "owned_citation_rate": "own site cited",
}
LEADERBOARD = "Leaderboard (all models and locations together)"
NETWORK_LEGEND = (
    "by mention rate, then rank · [low–high] = 95 % interval · coverage: first line · n of mentioned = answers read, "
    "of voice (share of voice) = namings of any brand, of rank (1 = named first) = ranked mentions, of sentiment "
    "(−1 to 1) = judged mentions, of own site cited = answers known to have searched the web · – = nothing to divide by"
)


def print_network_summary(
    summary: NetworkSummary, next_steps: Mapping[str, str], console: Console | None = None
) -> None:
    """Print the result of a network's batch for a person."""
    console = console or terminal()
    title = f"{printable(summary.network_name)} · {summary.run_date} · {network_headline(summary)}"
    console.print(f"\n{title}\n", style="bold")
    if summary.reason:
        console.print(f"{printable(summary.reason)}\n")
    for heading, rows in sections(summary).items():
        console.print(heading, style="bold")
        console.print(table(narrow(rows) if heading == LEADERBOARD else rows))
        console.print(f"\n{NETWORK_LEGEND}\n" if heading == LEADERBOARD else "", style="dim")
    console.print(network_money_line(summary))
    print_next_steps(console, {"batch": str(summary.batch_id), **next_steps})


def network_as_markdown(summary: NetworkSummary) -> str:
    """Return the summary as Markdown for a Prefect artifact."""
    parts = [
        f"# {escaped(summary.network_name)}, {summary.run_date}",
        network_headline(summary),
        *([f"**{escaped(summary.reason)}**"] if summary.reason else []),
    ]
    for heading, rows in sections(summary).items():
        parts += [f"## {heading}", markdown_table(rows), *([NETWORK_LEGEND] if heading == LEADERBOARD else [])]
    parts += [network_money_line(summary), f"batch `{summary.batch_id}`"]
    return "\n\n".join(parts)


def network_headline(summary: NetworkSummary) -> str:
    """Say status, coverage of answers and of evaluations, and what failed in one line."""
    number = sum(child.failed for child in summary.children)
    failed = f" · failed: {number} of {len(summary.children)}" if number else ""
    return (
        f"{answers_line(summary)} · {summary.evaluations} of {summary.expected_evaluations} evaluations for "
        f"{summary.members} members{failed}{origin(summary.sandbox)}"
    )


def network_money_line(summary: NetworkSummary) -> str:
    """Say what answers and reading cost and what the payers were charged, USD."""
    charged_for = f"{summary.charges} evaluations to {', '.join(summary.payers) or 'nobody'}"
    return f"{cost_line(summary, charged_for)} · asked in {summary.duration_seconds or 0:.1f} s"


def sections(summary: NetworkSummary) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a network by title, those without a row left out; names are fit for a terminal."""
    tables = {
        LEADERBOARD: leaderboard_rows(summary),
        "Members that could not be evaluated": failed_rows(summary),
        "Top cited domains (a URL counts once per answer)": domain_rows(summary),
        "Top brands that are no member (in how many of n answers)": [
            {"answers": f"{brand.answers}/{brand.n}", "brand": printable(brand.name)}
            for brand in summary.top_competitors
        ],
    }
    return {title: rows for title, rows in tables.items() if rows}


def leaderboard_rows(summary: NetworkSummary) -> list[dict[str, str]]:
    """Return one row per member in order, every figure with its n; without an evaluation dashes."""
    return [_leaderboard_row(place, standing, summary) for place, standing in enumerate(summary.leaderboard, 1)]


def _leaderboard_row(place: int, standing: Standing, summary: NetworkSummary) -> dict[str, str]:
    return {
        "#": str(place) if standing.evaluated else NOTHING,
        "member": f"{printable(standing.name)}{' (has left)' if standing.left else ''}",
        "answers read": f"{standing.evaluated} of {summary.answered}" if standing.evaluated else NOTHING,
        **{column: show(standing.figures.get(key)) for key, column in COLUMNS.items()},
    }


def failed_rows(summary: NetworkSummary) -> list[dict[str, str]]:
    """Return one row per member whose flow failed, with its sentence."""
    return [
        {"member": printable(child.org_name), "state": child.state, "reason": printable(child.reason or NOTHING)}
        for child in summary.children
        if child.failed
    ]


def domain_rows(summary: NetworkSummary) -> list[dict[str, str]]:
    """Return one row per cited domain, with the members whose own site it is."""
    return [
        {
            "answers": f"{cited.answers}/{cited.n}",
            "citations": str(cited.citations),
            "domain": printable(cited.name),
            "own site of": printable(", ".join(cited.members)),
        }
        for cited in summary.top_domains
    ]


def print_network_org_summary(
    summary: NetworkOrgSummary, next_steps: Mapping[str, str], console: Console | None = None
) -> None:
    """Print for a person what a network's answers came to for one org."""
    console = console or terminal()
    console.print(f"\n{printable(summary.org_name)} · {reading_headline(summary)}\n", style="bold")
    if summary.reason:
        console.print(f"{printable(summary.reason)}\n")
    console.print(table(reading_rows(summary)))
    console.print(f"\n{reading_money_line(summary)}")
    print_next_steps(console, next_steps)


def reading_as_markdown(summary: NetworkOrgSummary) -> str:
    """Return the summary of a member's reading as Markdown for a Prefect artifact."""
    parts = [
        f"# {escaped(summary.org_name)} in its network, since {summary.since}",
        reading_headline(summary),
        *([f"**{escaped(summary.reason)}**"] if summary.reason else []),
        markdown_table(reading_rows(summary)),
        reading_money_line(summary),
    ]
    return "\n\n".join(parts)


def reading_headline(summary: NetworkOrgSummary) -> str:
    """Say status, what was missing and how much of it was read in one line."""
    now = f"{summary.evaluated_now} of {summary.found} missing answers read" if summary.found else "nothing was missing"
    return f"{summary.status} · {now}{failures('failed', summary.failed)}{origin(summary.sandbox)}"


def reading_rows(summary: NetworkOrgSummary) -> list[dict[str, str]]:
    """Return what all of the network's answers since the first day came to for the org."""
    rate = summary.mention_rate
    reason = f" ({rate.reason})" if rate.value is None else ""
    shown: Sequence[tuple[str, str]] = (
        ("batches", str(summary.batches)),
        ("answers read", f"{summary.evaluated} of {summary.answered} ({percent(summary.coverage)})"),
        ("coverage of what was asked", percent(rate.coverage)),
        ("mention rate, all models", f"{show(rate)}{reason}"),
        ("answers naming the org", str(summary.mentioned)),
        ("competitors named", str(summary.competitors)),
        ("citations", str(summary.citations)),
    )
    return [{f"since {summary.since}": name, "value": value} for name, value in shown]


def reading_money_line(summary: NetworkOrgSummary) -> str:
    """Say what this reading cost and what was charged for it, USD."""
    took = "" if summary.duration_seconds is None else f" · {summary.duration_seconds:.1f} s"
    return (
        f"cost: reading {summary.llm_cost_usd:.4f} USD ({summary.llm_calls} calls) · "
        f"charged {summary.charged_usd:.4f} USD for {summary.charges} evaluations{took}"
    )
