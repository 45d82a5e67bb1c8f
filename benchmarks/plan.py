"""How much is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "build" / "benchmarks"  # not in git; results to keep go to benchmarks/results


@dataclass(frozen=True)
class Plan:
    """How often each thing is run, with which seeds and scales, and where results go."""

    runs: int = 5
    seeds: Sequence[int] = (11, 12, 13)
    runs_per_seed: int = 2
    time_scale: float = 15
    cold_starts: int = 2
    warm_starts: int = 3
    reads: int = 3
    reading_scale: float = 1
    network_runs: int = 2
    shard_orgs: int = 200
    growth_orgs: Sequence[int] = (50, 800)
    profiled_orgs: int = 25
    bare_runs: int = 2
    night_orgs: int = 1500
    night_processes: int = 2
    night_scale: float = 30
    history_rows: int = 20_000_000
    history_orgs: int = 50
    history_runs: int = 2
    output: Path = RESULTS


QUICK = Plan(
    runs=2, seeds=(13,), runs_per_seed=1, time_scale=30, cold_starts=1, warm_starts=1,
    reads=1, reading_scale=5, network_runs=1, shard_orgs=25, growth_orgs=(50,), profiled_orgs=0, bare_runs=1,
    night_orgs=50, night_scale=60, history_rows=200_000, history_orgs=25, history_runs=1,
)  # fmt: skip
