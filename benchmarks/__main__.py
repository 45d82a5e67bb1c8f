"""Measure P1, P4, P7, P8, P10, P12 and P13 for single orgs on this machine: `python -m benchmarks`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import report, single_org, stage


def main() -> int:
    """Measure, print the table, write the JSON; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="measured runs per program after one to warm up")
    parser.add_argument("--time-scale", type=float, default=20, help="P4: realistic latencies divided by this")
    parser.add_argument("--output", type=Path, default=stage.ROOT / "benchmarks" / "results", help="folder of the JSON")
    given = parser.parse_args()
    with stage.opened() as opened:
        figures = single_org.measure(opened, runs=given.runs, time_scale=given.time_scale)
    report.show(figures)
    print(f"written to {report.write(figures, given.output)}")
    return int(any(figure.verdict == "MISSED" for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main())
