"""Measure P1, P4, P7, P8, P10, P12 and P13 for single orgs on this machine: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import subprocess
from dataclasses import replace
from pathlib import Path

from benchmarks import report, single_org, stage

RESULTS = stage.ROOT / "benchmarks" / "results"


def main() -> int:
    """Measure, print the table, write the JSON; 0 when every budget is kept, else 1."""
    given = _arguments()
    plan = single_org.QUICK if given.quick else single_org.Plan()
    chosen = {name: getattr(given, name) for name in ("runs", "time_scale") if getattr(given, name) is not None}
    try:
        with stage.opened() as opened:
            figures = single_org.measure(opened, replace(plan, **chosen))
    except subprocess.CalledProcessError as error:
        print(f"Nothing was measured: `{' '.join(error.cmd[1:3])}` ended with {error.returncode}; it says why above.")
        return 2
    report.show(figures)
    path = report.write(figures, given.output)
    print(report.conclusion(figures))
    print(f"Written to {path}")
    return int(bool(report.missed(figures)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} Needs no key and no network; about 5 minutes, 2 with --quick. What is measured "
        "and how: docs/performance.md. Exit status 1 when a budget is missed, 2 when a program failed. "
        "Measure on an otherwise idle machine.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs: to see that it works, not to compare")
    parser.add_argument("--runs", type=int, help="measured runs per program, P1 and P10 (7; quick 2)")
    parser.add_argument("--time-scale", type=float, help="P4: realistic latencies divided by this (15; quick 30)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON (benchmarks/results)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
