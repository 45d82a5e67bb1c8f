"""Measure the product against its budgets on this machine: `python -m benchmarks`, or `--only P5 P9`."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import critical_path, history, networks, reading_path, report, single_org, stage
from benchmarks.plan import QUICK, RESULTS, Plan
from benchmarks.report import Figure
from benchmarks.stage import Stage
from visibility.errors import VisibilityError


@dataclass(frozen=True)
class Part:
    """Figures that are measured together; `usual` parts are measured when none is named."""

    numbers: tuple[str, ...]
    measure: Callable[[Stage, Plan], list[Figure]]
    usual: bool = True


PARTS = (
    Part(("P7", "P8", "P12", "P13"), single_org.calls_and_starts),
    Part(("P1", "P10", "P11"), single_org.cpu_and_database),
    Part(("P4",), critical_path.measure),
    Part(("P5",), reading_path.measure),
    Part(("P9",), networks.measure),
    Part(("P14",), lambda stage, plan: history.measure(plan.history_rows, plan.output), usual=False),
)


def main() -> int:
    """Measure, print the table, write the JSON; 0 when every budget is kept, else 1."""
    given = _arguments()
    names = ("runs", "time_scale", "history_rows", "output")
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    plan = replace(QUICK if given.quick else Plan(), **chosen)
    try:
        with stage.opened() as opened:
            figures = [figure for part in chosen_parts(given.only) for figure in part.measure(opened, plan)]
    except subprocess.CalledProcessError as error:
        print(f"Nothing was measured: `{' '.join(error.cmd[1:3])}` ended with {error.returncode}; it says why above.")
        return 2
    except VisibilityError as error:
        print(error.message)
        return 2
    report.show(figures)
    path = report.write(figures, plan.output)
    print(report.conclusion(figures))
    print(f"Written to {path}")
    return int(bool(report.missed(figures)))


def chosen_parts(numbers: Sequence[str]) -> list[Part]:
    """Return the parts that hold these figures, without a name the usual ones."""
    return [part for part in PARTS if (set(numbers) & set(part.numbers) if numbers else part.usual)]


def _arguments() -> argparse.Namespace:
    numbers = sorted((number for part in PARTS for number in part.numbers), key=lambda number: int(number[1:]))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} Needs no key and no network; about 15 minutes, 6 with --quick. What is measured "
        "and how: docs/performance.md. Exit status 1 when a budget is missed, 2 when a program failed. "
        "Measure on an otherwise idle machine.",
    )
    add = parser.add_argument
    add("--only", nargs="+", default=[], choices=numbers, metavar="P1", help="these figures, and what comes with them")
    add("--quick", action="store_true", help="fewer runs: to see that it works, not to compare")
    add("--runs", type=int, help="measured runs per program, P1 and P10 (7; quick 2)")
    add("--time-scale", type=float, help="P4: realistic latencies divided by this (15; quick 30)")
    add("--rows", type=int, dest="history_rows", help="P14: question runs of history (20 million; quick 200,000)")
    add("--output", type=Path, default=RESULTS, help="folder of the JSON (benchmarks/results)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
