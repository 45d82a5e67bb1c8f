"""How a report's result is shown: a page in the terminal, Markdown in the Prefect UI."""

from __future__ import annotations

from collections.abc import Mapping

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
from visibility.report.summary import ReportSummary
from visibility.report.words import TITLES, interval, together, written


def print_report(report: ReportSummary, next_steps: Mapping[str, str], console: Console | None = None) -> None:
    """Print the figures of the whole window and where the files lie, for a person."""
    console = console or terminal()
    console.print(f"\n{printable(report.owner_name)} · {report_headline(report)}\n", style="bold")
    if report.expected:
        console.print(table(figure_rows(report)))
        console.print(f"\n{_changed(report)}")
    places = {"page": report.link, "files": f"{report.place} ({', '.join(report.files)})"}
    print_next_steps(console, {**places, **next_steps})


def report_as_markdown(report: ReportSummary) -> str:
    """Return the report in short as Markdown for a Prefect artifact; the page has all of it."""
    parts = [
        f"# {escaped(report.owner_name)}, {report.since} to {report.until}",
        report_headline(report),
        *([markdown_table(figure_rows(report)), escaped(_changed(report))] if report.expected else []),
        f"The page and its data lie in `{report.place}`: {', '.join(f'`{name}`' for name in report.files)}.",
    ]
    return "\n\n".join(parts)


def report_headline(report: ReportSummary) -> str:
    """Say in one line what the report rests on."""
    window, simulated = f"{report.since} to {report.until}", origin(report.sandbox)
    other = "real" if report.sandbox else "simulated"
    left_out = f" · {report.other_origin:,} {other} runs are left out" if report.other_origin else ""
    if not report.expected:
        return f"{window} · nothing was asked in this window{left_out}{simulated}"
    coverage = written("coverage", report.figures["coverage"].value)
    answers = f"coverage {coverage} ({report.answered:,} of {report.expected:,} answers)"
    dates = f"{report.dates} dates" if report.dates != 1 else "1 date"
    return f"{window} · {dates} · {answers}{failures('missing', report.failed)}{left_out}{simulated}"


def figure_rows(report: ReportSummary) -> list[dict[str, str]]:
    """Return one row per figure: value, 95 % interval, n with its unit, coverage."""
    models = together(report.models)
    return [
        {
            models: TITLES[figure.name],
            "value": written(figure.name, figure.value) if figure.value is not None else f"{NOTHING} ({figure.reason})",
            "95 % interval": interval(figure) or NOTHING,
            "n": f"{figure.n:,} {figure.unit}",
            "coverage": written("coverage", figure.coverage),
        }
        for figure in report.figures.values()
    ]


def _changed(report: ReportSummary) -> str:
    if report.dates < 2:
        return "One date only: there is no change to speak of."
    return f"Changed: {'; '.join(report.changed)}." if report.changed else "No figure changed by more than the noise."
