"""Measure the product against its budgets on this machine: `python -m benchmarks`, or `--only P5 P9`."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import critical_path, full_night, history, networks, nights, reading_path, report, single_org, stage
from benchmarks.plan import QUICK, RESULTS, ROOT, Plan
from benchmarks.report import Figure
from benchmarks.stage import Stage
from deployments.local.processes import say_on_stderr
from visibility.errors import VisibilityError

CHOICES = ("runs", "time_scale", "night_orgs", "history_rows", "output")


@dataclass(frozen=True)
class Part:
    """Figures that are measured together, by number; `minutes` on two cores, as planned."""

    numbers: tuple[str, ...]
    measure: Callable[[Stage, Plan], list[Figure]]
    minutes: int


PARTS = (
    Part(("P6", "NIGHT"), full_night.measure, 20),
    Part(("P7", "P8", "P13"), single_org.calls_and_starts, 2),
    Part(("SINGLE",), single_org.cpu_and_database, 1),
    Part(("P4",), critical_path.measure, 3),
    Part(("P5",), reading_path.measure, 2),
    Part(("P9",), networks.measure, 3),
    Part(("P1", "P2", "P3", "P10", "P11", "P12", "P14"), nights.measure, 15),
    Part(("P14", "HISTORY"), history.measure, 12),
)


def main() -> int:
    """Measure, print the table, write the JSON; 0 when every budget is kept, 1 when not, 2 when something broke."""
    given = _arguments()
    chosen = {name: getattr(given, name) for name in CHOICES if getattr(given, name) is not None}
    plan = replace(QUICK if given.quick else Plan(), **chosen)
    path, figures = report.new_file(plan.output), []
    try:
        for figure in _measured(chosen_parts(given.only), plan, path):
            figures.append(figure)
    except (subprocess.CalledProcessError, VisibilityError) as error:
        print(_sentence(error))
        print(f"What was measured before is in {path}" if figures else "Nothing was measured.")
        return 2
    report.show(figures)
    print(report.conclusion(figures))
    print(f"Written to {path}")
    return int(bool(report.missed(figures)))


def _measured(parts: Sequence[Part], plan: Plan, path: Path) -> Iterator[Figure]:
    """Yield the figures of part after part; the file is written anew after each."""
    history.require_room(Path(tempfile.gettempdir()), plan.history_rows if PARTS[-1] in parts else 0)
    facts, figures, began = report.facts_now(plan), list[Figure](), time.monotonic()
    with stage.opened() as opened:
        for number, part in enumerate(parts, 1):
            minutes = (time.monotonic() - began) / 60
            say_on_stderr(f"{minutes:.0f} min: {', '.join(part.numbers)} (part {number} of {len(parts)}) …")
            figures += (new := part.measure(opened, plan))
            report.write(figures, path, facts)
            yield from new


def _sentence(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{' '.join(error.cmd[1:3])}` ended with {error.returncode}; it says why above."
    return str(error)


def chosen_parts(numbers: Sequence[str]) -> list[Part]:
    """Return the parts that hold these figures, without a name all."""
    return [part for part in PARTS if not numbers or set(numbers) & set(part.numbers)]


def _arguments() -> argparse.Namespace:
    numbers = sorted({number for part in PARTS for number in part.numbers}, key=lambda number: (len(number), number))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} Needs no key and no network; about {sum(part.minutes for part in PARTS)} minutes and "
        "26 GB of disk, 8 minutes with --quick. What is measured and how: docs/performance.md. Exit status 1 when a "
        "budget is missed, 2 when a program failed. Measure on an otherwise idle machine.",
    )
    add = parser.add_argument
    add("--only", nargs="+", default=[], choices=numbers, metavar="P1", help="these figures, and what comes with them")
    add("--quick", action="store_true", help="fewer and smaller runs: to see that it works, not to compare")
    add("--runs", type=int, help="measured runs of one org at a time (5; quick 2)")
    add("--time-scale", type=float, help="P4: realistic latencies divided by this (15; quick 30)")
    add("--orgs", type=int, dest="night_orgs", help="orgs of the whole night (1,500; quick 50)")
    add("--rows", type=int, dest="history_rows", help="HISTORY: question runs of a year (20 million; quick 200,000)")
    add("--output", type=Path, help=f"folder of the JSON ({RESULTS.relative_to(ROOT)}; to keep it: benchmarks/results)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
