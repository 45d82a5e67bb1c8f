"""How a result is shown: a page in the terminal, Markdown in the Prefect UI. Ratios become percent only here."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from visibility.metrics import Figure
from visibility.network_summary import NetworkSummary
from visibility.summary import Counted, OrgEvaluationSummary

COLUMNS = {
    "mention_rate": "mentioned",
    "share_of_voice_by_text": "voice: text",
    "share_of_voice_by_mentions": "voice: names",
    "average_rank": "rank",
    "sentiment_index": "sentiment",
    "owned_citation_rate": "own site cited",
}
PERCENT = {
    "coverage", "mention_rate", "share_of_voice_by_text", "share_of_voice_by_mentions", "owned_citation_rate",
    "citation_share",
}  # fmt: skip
LEGEND = (
    "n = what a figure rests on (first table: its unit) · [low–high] = 95 % interval · voice = share of voice, by text "
    "or by brand namings · rank 1 = named first · sentiment −1 to 1 · – = no valid denominator"
)
NOTHING = "–"
WIDTH_OF_A_FILE = 110
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")  # escape codes, text direction
MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>|#~!&])")


def print_summary(summary: OrgEvaluationSummary, next_steps: Mapping[str, str], console: Console | None = None) -> None:
    """Print the result of one batch for a person."""
    console = console or terminal()
    console.print(f"\n{printable(summary.org_name)} · {summary.run_date} · {headline(summary)}\n", style="bold")
    console.print(table(figure_rows(summary)))
    if summary.by_model:
        console.print()
        console.print(table(narrow(group_rows(summary))))
    console.print(f"\n{LEGEND}", style="dim")
    for title, lists in tops(summary).items():
        console.print(f"\n{title}", style="bold")
        console.print(table(top_rows(lists, printable)))
    console.print(f"\n{money_line(summary)}")
    print_next_steps(console, {"batch": str(summary.batch_id), **next_steps})


def terminal() -> Console:
    """Return the terminal, or a file as wide as a page; text is printed as it is."""
    width = None if sys.stdout.isatty() else WIDTH_OF_A_FILE
    return Console(highlight=False, markup=False, emoji=False, width=width)


def print_next_steps(console: Console, next_steps: Mapping[str, str]) -> None:
    """Print addresses and commands, each on one line however long it is."""
    for name, where in next_steps.items():
        console.print(f"{name}: {where}", soft_wrap=True)


def headline(summary: OrgEvaluationSummary) -> str:
    """Say status, coverage and what failed in one line."""
    unread = f" · {summary.unevaluated} answers could not be read" if summary.unevaluated else ""
    return f"{answers_line(summary)}{unread}{origin(summary.sandbox)}"


def answers_line(summary: OrgEvaluationSummary | NetworkSummary) -> str:
    """Say the status of a batch, how many answers came back, and why others did not."""
    elsewhere = f" · {summary.answered_elsewhere} answered from another country" if summary.answered_elsewhere else ""
    return (
        f"{summary.status} · coverage {percent(summary.coverage)} ({summary.answered} of {summary.expected} answers)"
        f"{failures('missing', summary.failed)}{elsewhere}"
    )


def failures(label: str, failed: Mapping[str, int]) -> str:
    """Say how many failed by error code, behind a dot and the label; nothing when none did."""
    codes = ", ".join(f"{number} {code}" for code, number in sorted(failed.items()))
    return f" · {label}: {codes}" if codes else ""


def origin(sandbox: bool) -> str:
    """Say that a result is simulated, behind a dot; nothing when it is real."""
    return " · SIMULATED (sandbox)" if sandbox else ""


def money_line(summary: OrgEvaluationSummary) -> str:
    """Say what the vendors cost and what the payer was charged, USD."""
    charged_for = f"{summary.charges} answers to {summary.payer or 'nobody'}"
    return f"{cost_line(summary, charged_for)} · {summary.duration_seconds or 0:.1f} s"


def cost_line(summary: OrgEvaluationSummary | NetworkSummary, charged_for: str) -> str:
    """Say what answers and reading cost, and what was charged for what, USD."""
    return (
        f"cost: answers {summary.vendor_cost_usd:.4f} USD, reading {summary.llm_cost_usd:.4f} USD "
        f"({summary.llm_calls} calls, {summary.llm_tokens} tokens) · charged {summary.charged_usd:.4f} USD "
        f"for {charged_for}"
    )


def group_rows(summary: OrgEvaluationSummary) -> list[dict[str, str]]:
    """Return one row per model and per location, every figure with its n, the mention rate with its interval."""
    return rows_of({**summary.by_model, **summary.by_location})


def result_rows(summary: OrgEvaluationSummary) -> list[dict[str, str]]:
    """Return one row per model and location, after those of `group_rows`."""
    return [*group_rows(summary), *rows_of(summary.by_model_and_location)]


def rows_of(groups: Mapping[str, Mapping[str, Figure]]) -> list[dict[str, str]]:
    """Return one row of figures per model, location or pair of them."""
    return [
        {
            "model or location": printable(group),
            "coverage": _coverage(figures),
            **{column: show(figures.get(key)) for key, column in COLUMNS.items()},
        }
        for group, figures in groups.items()
    ]


def figure_rows(summary: OrgEvaluationSummary) -> list[dict[str, str]]:
    """Return one row per figure over all models together: value, 95 % interval, n with its unit, coverage."""
    rows = []
    for figure in summary.figures.values():
        as_text = percent if figure.name in PERCENT else _plain
        interval = NOTHING if figure.low is None else f"{as_text(figure.low)} to {as_text(figure.high)}"
        value = as_text(figure.value) if figure.value is not None else f"{NOTHING} ({figure.reason})"
        rows.append(
            {
                "all models": figure.name.replace("_", " "),
                "value": value,
                "95 % interval": interval,
                "n": f"{figure.n} {figure.unit}",
                "coverage": percent(figure.coverage),
            }
        )
    return rows


def show(figure: Figure | None) -> str:
    """Write one figure: value, n, and the interval of the mention rate; without a denominator a dash."""
    if figure is None or figure.value is None:
        return NOTHING
    as_text = percent if figure.name in PERCENT else _plain
    with_interval = figure.name == "mention_rate" and figure.low is not None
    interval = f" [{as_text(figure.low)}–{as_text(figure.high)}]" if with_interval else ""
    return f"{as_text(figure.value)}{interval} n={figure.n}"


def as_markdown(summary: OrgEvaluationSummary) -> str:
    """Return the summary as Markdown for a Prefect artifact."""
    parts = [
        f"# {escaped(summary.org_name)}, {summary.run_date}",
        headline(summary),
        *([f"**{escaped(summary.reason)}**"] if summary.reason else []),
        markdown_table(figure_rows(summary)),
        markdown_table(group_rows(summary)),
        LEGEND,
    ]
    for title, lists in tops(summary).items():
        parts += [f"## {title}", markdown_table(top_rows(lists, str))]
    parts += [money_line(summary), f"batch `{summary.batch_id}`"]
    return "\n\n".join(parts)


def tops(summary: OrgEvaluationSummary) -> dict[str, dict[str, list[Counted]]]:
    """Return the lists of most named competitors and domains, by title, over all models and per model."""
    models = summary.named_by_model
    competitors = {"all models": summary.top_competitors, **{name: models[name].competitors for name in models}}
    domains = {"all models": summary.top_domains, **{name: models[name].domains for name in models}}
    titled = {
        "Top competitors (in how many of n answers)": competitors,
        "Top cited domains (in how many of n answers)": domains,
    }
    return {title: lists for title, lists in titled.items() if lists["all models"]}


def top_rows(lists: Mapping[str, Sequence[Counted]], clean: Callable[[str], str]) -> list[dict[str, str]]:
    """Return the lists side by side, one column each."""
    columns = {name: [f"{row.answers}/{row.n} {clean(row.name)}" for row in rows] for name, rows in lists.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip_longest(*columns.values(), fillvalue="")]


def printable(text: str) -> str:
    """Return untrusted text for a terminal: what would steer it becomes a space."""
    return UNPRINTABLE.sub(" ", text)


def escaped(text: str) -> str:
    """Return untrusted text as Markdown that shows exactly this text: no table cell, link, HTML or emphasis."""
    return MARKDOWN_SIGNS.sub(r"\\\1", printable(text))


def narrow(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Put every n on a line of its own, titles on two: eight columns fit into a terminal of 80."""
    return [
        {"\n".join(title.rsplit(" ", 1)): cell.replace(" n=", "\nn=") for title, cell in row.items()} for row in rows
    ]


def table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Return rows with the same keys as a table for the terminal; the keys are its titles."""
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for title in rows[0] if rows else ():
        drawn.add_column(title)
    for row in rows:
        drawn.add_row(*row.values())
    return drawn


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows with the same keys as a Markdown table in which every cell is plain text; empty without a row."""
    if not rows:
        return ""
    titles = list(rows[0])
    lines = ["| " + " | ".join(map(escaped, line)) + " |" for line in (titles, *(row.values() for row in rows))]
    return "\n".join((lines[0], "|---" * len(titles) + "|", *lines[1:]))


def percent(value: float | None) -> str:
    """Write a ratio as percent; a dash for None."""
    return NOTHING if value is None else f"{value:.0%}"


def _coverage(figures: Mapping[str, Figure]) -> str:
    figure = figures.get("coverage")
    return NOTHING if figure is None else f"{percent(figure.value)} n={figure.n}"


def _plain(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
