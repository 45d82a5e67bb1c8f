"""The plan on paper: nights of 1,500 and 30,000 orgs on Fargate, from the figures of one benchmark.

    python -m benchmarks.capacity [RESULTS.json] [--write docs/capacity.md]

prints Markdown tables; without a file it takes the newest in benchmarks/results. `--write` puts them into the page.
Prices and assumptions stand in `benchmarks/prices.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks import prices
from benchmarks.pages import newest_result, replace_part
from benchmarks.plan import ROOT

PAGE = ROOT / "docs" / "capacity.md"
SCALES = (1_500, 30_000)
DAYS, ANSWERS = 30, 60
ORGS_PER_SHARD = 100
SUBMISSIONS_PER_MINUTE, MOST_RUNNING_JOBS = 10, 100


@dataclass(frozen=True)
class Measured:
    """What one org takes, by benchmark; CPU in seconds, money in USD. `connections` and `memory_mb`: of a process."""

    worker_cpu: float
    server_cpu: float
    postgres_cpu: float
    start_cpu: float
    statements: float
    connections: float
    memory_mb: float
    task_runs: float
    database_mb: float
    llm_calls: float
    llm_tokens: float
    llm_usd: float
    jobs_of_night: float
    orgs_of_night: float

    @property
    def jobs(self) -> float:
        return self.jobs_of_night / self.orgs_of_night


FIGURES = {  # number and beginning of the name; exactly one figure fits
    "worker_cpu": ("P1", "CPU per org, product, ", " in one process"),
    "server_cpu": ("P1", "beside it, per org: Prefect server", ""),
    "postgres_cpu": ("P1", "beside it, per org: Postgres", ""),
    "start_cpu": ("P1", "CPU of a process before its first org", ""),
    "statements": ("P10", "statements per org, ", " orgs"),
    "connections": ("P10", "database connections, ", " in flight"),
    "memory_mb": ("P11", "most memory of the worker, ", " in flight"),
    "task_runs": ("P12", "task runs per org, ", ""),
    "database_mb": ("NIGHT", "growth of the database per org", ""),
    "llm_calls": ("P7", "LLM calls, cold names", ""),
    "llm_tokens": ("P8", "tokens per org", ""),
    "llm_usd": ("P8", "LLM cost per org", ""),
    "jobs_of_night": ("P6", "vendor jobs for ", ""),
    "orgs_of_night": ("NIGHT", "orgs of the night", ""),
}
assert set(FIGURES) == {field.name for field in fields(Measured)}


def measured(figures: Sequence[dict[str, Any]]) -> Measured:
    """Pick what the plan needs; raises LookupError that names a figure which is not there, or twice."""
    return Measured(**{name: _value(figures, *key) for name, key in FIGURES.items()})


def _value(figures: Sequence[dict[str, Any]], number: str, start: str, end: str) -> float:
    found = [
        figure["value"]
        for figure in figures
        if figure["number"] == number and figure["what"].startswith(start) and figure["what"].endswith(end)
    ]
    if len(found) != 1 or found[0] is None:
        raise LookupError(f"The results have {len(found)} figures {number} “{start}…{end}”; one is needed.")
    return float(found[0])


@dataclass(frozen=True)
class Night:
    """One night of so many orgs, in shards of 100 that run beside each other as fast as submissions allow."""

    orgs: int
    per_org: Measured

    @property
    def jobs(self) -> int:
        return ceil(self.orgs * self.per_org.jobs)

    @property
    def submission_minutes(self) -> float:
        return self.jobs / SUBMISSIONS_PER_MINUTE

    @property
    def shards(self) -> int:
        return ceil(self.orgs / ORGS_PER_SHARD)

    @property
    def cpu_minutes(self) -> float:
        """CPU of one shard on its vCPU."""
        return (self.per_org.start_cpu + ORGS_PER_SHARD * self.per_org.worker_cpu) / 60 / prices.SHARD_VCPU

    @property
    def container_minutes(self) -> float:
        return prices.START_MINUTES + self.cpu_minutes + prices.SLOWEST_JOB_MINUTES

    @property
    def container_hours(self) -> float:
        return self.shards * self.container_minutes / 60

    @property
    def at_a_time(self) -> int:
        """Containers that are needed for 10 submissions a minute, each having its shard's jobs submitted."""
        shards_per_minute = SUBMISSIONS_PER_MINUTE / (self.per_org.jobs * ORGS_PER_SHARD)
        return min(ceil(shards_per_minute * self.container_minutes), self.shards)

    @property
    def hours(self) -> float:
        return (self.submission_minutes + self.container_minutes) / 60

    @property
    def shards_usd(self) -> float:
        return DAYS * self.container_hours * prices.arm(prices.SHARD_VCPU, prices.SHARD_GB)

    @property
    def llm_usd(self) -> float:
        return DAYS * self.orgs * self.per_org.llm_usd

    @property
    def vendor_usd(self) -> float:
        return DAYS * self.orgs * ANSWERS * prices.VENDOR_RECORD

    @property
    def storage_gb(self) -> float:
        """What a month adds to the database."""
        return DAYS * self.orgs * self.per_org.database_mb / 1000

    @property
    def fixed_usd(self) -> float:
        """Prefect server, its worker, Postgres with a year of storage, NAT: whether or not anything runs."""
        hours = 24 * DAYS
        running = prices.arm(1, 2) + prices.arm(0.5, 1) + prices.RDS_HOUR + prices.NAT_HOUR
        return hours * running + 12 * self.storage_gb * prices.RDS_GB_MONTH


Row = tuple[str, str, Callable[[Night], str]]


def _rows(one: Measured) -> list[Row]:
    """What, how it is reckoned, and the figure for a night."""
    most_running = SUBMISSIONS_PER_MINUTE * prices.SLOWEST_JOB_MINUTES
    container = (
        f"{prices.START_MINUTES} min start + ({one.start_cpu:.1f} s + {ORGS_PER_SHARD} × {one.worker_cpu:.2f} s CPU)"
        f" + {prices.SLOWEST_JOB_MINUTES} min slowest job"
    )
    return [
        ("answers", f"orgs × {ANSWERS}", lambda night: f"{night.orgs * ANSWERS:,}"),
        ("vendor jobs", f"orgs × {one.jobs:.3f}, measured at 500 inputs a job", lambda night: f"{night.jobs:,}"),
        ("their submission", f"{SUBMISSIONS_PER_MINUTE} a minute", lambda night: _hours(night.submission_minutes / 60)),
        ("vendor jobs running", f"{SUBMISSIONS_PER_MINUTE} a minute × {prices.SLOWEST_JOB_MINUTES} min at most, "
         f"{MOST_RUNNING_JOBS} allowed", lambda night: f"≤ {min(night.jobs, most_running)}"),
        ("containers (shards)", f"{ORGS_PER_SHARD} orgs, {prices.SHARD_VCPU} vCPU, {prices.SHARD_GB} GB each, of which "
         f"{one.memory_mb:.0f} MB are used", lambda night: f"{night.shards:,}"),
        ("one container runs", container, lambda night: f"{night.container_minutes:.1f} min"),
        ("containers at a time", "so many that submissions never wait for one", lambda night: f"{night.at_a_time}"),
        ("the night takes", "submissions, then the last shard", lambda night: _hours(night.hours)),
        ("Postgres connections", f"containers at a time × {one.connections:.0f}",
         lambda night: f"{night.at_a_time * one.connections:.0f}"),
        *_loads(one),
    ]  # fmt: skip


def _loads(one: Measured) -> list[Row]:
    """What others have to bear while it runs."""

    def rate(night: Night, of: float) -> float:
        return night.orgs / (night.hours * 3600) * of

    return [
        ("Postgres statements", f"{one.statements:.0f} per org", lambda night: f"{rate(night, one.statements):.0f} /s"),
        ("Postgres CPU", f"{one.postgres_cpu:.2f} s per org, Prefect's tables too",
         lambda night: f"{rate(night, one.postgres_cpu):.2f} cores"),
        ("Prefect task runs", f"{one.task_runs:.0f} per org; its server takes 75–125 /s",
         lambda night: f"{rate(night, one.task_runs):.0f} /s"),
        ("Prefect server CPU", f"{one.server_cpu:.2f} s per org",
         lambda night: f"{rate(night, one.server_cpu):.2f} cores"),
        ("database grows by", f"{one.database_mb:.2f} MB per org", lambda night: f"{night.storage_gb:,.0f} GB a month"),
        ("LLM calls", f"{one.llm_calls:.0f} per org", lambda night: f"{night.orgs * one.llm_calls:,.0f}"),
        ("LLM tokens", f"{one.llm_tokens:,.0f} per org",
         lambda night: f"{night.orgs * one.llm_tokens / 1e6:,.0f} million"),
        ("LLM tokens a minute", "tokens ÷ the night",
         lambda night: f"{rate(night, one.llm_tokens) * 60 / 1e6:.1f} million"),
    ]  # fmt: skip


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 2 else f"{hours * 60:.0f} min"


def _money(one: Measured) -> list[Row]:
    return [
        ("shards on Fargate", f"container-hours × {prices.arm(prices.SHARD_VCPU, prices.SHARD_GB):.4f} × {DAYS}",
         lambda night: _usd(night.shards_usd)),
        ("always there", "server 1 vCPU 2 GB, worker 0.5 vCPU 1 GB, db.t4g.medium with a year's growth, NAT",
         lambda night: _usd(night.fixed_usd)),
        ("LLM", f"{one.llm_usd:.4f} per org, without reasoning tokens", lambda night: _usd(night.llm_usd)),
        ("LLM by the Batch API instead", "half of it", lambda night: _usd(night.llm_usd / 2)),
        ("vendor", f"{ANSWERS} × {prices.VENDOR_RECORD} per org", lambda night: _usd(night.vendor_usd)),
        ("**together, per org and night**", "with LLM at full price", lambda night: (
            f"{(night.shards_usd + night.fixed_usd + night.llm_usd + night.vendor_usd) / DAYS / night.orgs:.4f}")),
    ]  # fmt: skip


def _usd(amount: float) -> str:
    return f"{amount:,.0f}"


# --- other designs ---------------------------------------------------------------------------------


def _designs(orgs: int, one: Measured) -> list[tuple[str, ...]]:
    """Fargate USD a month, container-hours a night, vendor jobs and the hours of their submission, by design."""
    night = Night(orgs, one)
    own = (prices.START_MINUTES + (one.start_cpu + one.worker_cpu) / 60 + prices.SLOWEST_JOB_MINUTES) / 60
    own_usd = orgs * own * prices.arm(1, 2)
    steps = (prices.STEPS - 1) * prices.SHORT_STEP_MINUTES / 60 * prices.x86(1, 2)
    steps += prices.LONG_STEP_MINUTES / 60 * prices.x86(2, 4)
    step_hours = ((prices.STEPS - 1) * prices.SHORT_STEP_MINUTES + prices.LONG_STEP_MINUTES) / 60
    transitions = orgs * DAYS * prices.STEPS / 1000 * prices.TRANSITIONS_1000
    return [
        (f"shards of {ORGS_PER_SHARD}", *_design(night.container_hours, night.jobs, night.shards_usd)),
        ("one container per org", *_design(orgs * own, orgs * 3, own_usd * DAYS)),
        (
            "Step Functions, a container per step",
            *_design(orgs * step_hours, orgs * 6, orgs * steps * DAYS + transitions),
        ),
    ]


def _design(hours: float, jobs: int, usd: float) -> tuple[str, ...]:
    return f"{hours:,.1f}", f"{jobs:,}", _hours(jobs / SUBMISSIONS_PER_MINUTE / 60), _usd(usd)


# --- the page ----------------------------------------------------------------------------------------


def tables(one: Measured) -> str:
    """Return all tables as Markdown."""
    nights = [Night(orgs, one) for orgs in SCALES]
    scales = [f"{orgs:,} orgs a day" for orgs in SCALES]
    parts = [
        _table(["a night", "reckoned", *scales], [(what, how, *map(of, nights)) for what, how, of in _rows(one)]),
        _table(["USD a month", "reckoned", *scales], [(what, how, *map(of, nights)) for what, how, of in _money(one)]),
    ]
    heads = ["design", "container-hours a night", "vendor jobs", "their submission", "USD a month"]
    parts += [f"{orgs:,} orgs a day:\n\n{_table(heads, _designs(orgs, one))}" for orgs in SCALES]
    return "\n\n".join(parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", help="JSON of a benchmark (newest in benchmarks/results)")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, help="page to write the tables into")
    given = parser.parse_args()
    path = given.results or newest_result()
    if path is None:
        parser.error("There is no file in benchmarks/results; name one.")
    shown = tables(measured(json.loads(path.read_text())["figures"]))
    if given.write:
        replace_part(given.write, "capacity", shown)
    else:
        print(shown)


if __name__ == "__main__":
    main()
