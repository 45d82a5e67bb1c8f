"""How much is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Plan:
    """How often each thing is run, with which seeds and scales, and where results go."""

    runs: int = 7
    seeds: Sequence[int] = (11, 12, 13)
    runs_per_seed: int = 3
    time_scale: float = 15
    cold_starts: int = 3
    warm_starts: int = 3
    profiled: int = 3
    reads: int = 3
    reading_scale: float = 1
    network_runs: int = 3
    history_rows: int = 20_000_000
    output: Path = RESULTS


QUICK = Plan(
    runs=2, seeds=(13,), runs_per_seed=1, time_scale=30, cold_starts=1, warm_starts=1, profiled=1,
    reads=1, reading_scale=5, network_runs=1, history_rows=200_000,
)  # fmt: skip
