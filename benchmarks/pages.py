"""Measured tables in the documents: `python -m benchmarks.pages [RESULTS.json]` writes those of docs/performance.md.

They stand between `<!-- name -->` and `<!-- end of name -->`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.plan import ROOT
from benchmarks.report import Figure, readable

KEPT = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"


def newest_result() -> Path | None:
    """Return the newest committed result; their names begin with the date."""
    return max(KEPT.glob("*.json"), default=None)


def replace_part(page: Path, name: str, content: str) -> None:
    """Write the part of a page; raises ValueError when the page has no such part."""
    page.write_text(_replaced(page.read_text(), name, content))


def _replaced(text: str, name: str, content: str) -> str:
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    new, found = re.subn(f"{start}.*?{end}", lambda _: f"{start}\n{content}\n{end}", text, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"The page has {found} parts {start} … {end}.")
    return new


def figures_of(results: dict[str, Any]) -> list[Figure]:
    """Return the figures of a result's JSON."""
    return [Figure(**{name: one[name] for name in one.keys() - {"verdict"}}) for one in results["figures"]]


def budgets(results: dict[str, Any]) -> str:
    """Return the figures that have a budget as a Markdown table, in the order of their numbers."""
    rows = [figure for figure in figures_of(results) if figure.budget is not None]
    rows.sort(key=lambda figure: _order(figure.number))
    lines = ["| # | what | budget | figure | n | |", "|---|---|---|---|---|---|", *map(_row, rows)]
    return "\n".join(lines)


def _order(number: str) -> int:
    return int(number[1:]) if number[1:].isdigit() else 100


def _row(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    verdict = "" if figure.verdict == "ok" else f"**{figure.verdict.lower()}**"
    shown = (
        figure.number,
        figure.what,
        figure.bound,
        f"{readable(figure.value)}{unit}",
        str(figure.samples_taken),
        verdict,
    )
    return f"| {' | '.join(shown)} |"


def profile(results: dict[str, Any]) -> str:
    """Return where the CPU of an org in a shard goes, in its worker and beside it, as a Markdown table."""
    figures = figures_of(results)
    lines = ["| CPU per org | s |", "|---|---|"]
    for start in ("of this in a shard: ", "beside it, per org: "):
        where = "worker" if start.startswith("of this") else "beside it"
        lines += [
            f"| {where}: {figure.what.removeprefix(start)} | {readable(figure.value)} |"
            for figure in figures
            if figure.number == "P1" and figure.what.startswith(start)
        ]
    return "\n".join(lines)


def facts(results: dict[str, Any], name: str) -> str:
    """Say in a sentence when and where it was measured."""
    machine = results["machine"]
    versions = ", ".join(f"{package} {machine[package]}" for package in ("prefect", "sqlalchemy", "openai"))
    return (
        f"Measured {results['measured_at'][:10]} on {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_gb']:.0f} GB, Python {machine['python']}, {versions}; "
        f"load {machine['load_1_minute']} before. "
        f"All figures: [benchmarks/results/{name}](../benchmarks/results/{name})."
    )


def main() -> None:
    """Write the tables of budgets and of the profile into docs/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", help="JSON of a benchmark (newest in benchmarks/results)")
    path = parser.parse_args().results or newest_result()
    if path is None:
        parser.error("There is no file in benchmarks/results; name one.")
    results = json.loads(path.read_text())
    replace_part(PAGE, "budgets", f"{facts(results, path.name)}\n\n{budgets(results)}")
    replace_part(PAGE, "profile", profile(results))


if __name__ == "__main__":
    main()
