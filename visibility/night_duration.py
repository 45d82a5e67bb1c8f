"""How long a night should take: each thing that it may have to wait for, and which of them decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from pydantic import BaseModel

from visibility.domain import Scope
from visibility.estimates import USUAL_READING
from visibility.networks import NETWORKS_AT_A_TIME
from visibility.settings import Settings
from visibility.store.nights import Measured

# Where no recent job or call says how long it takes: what docs/performance.md and docs/night.md give reasons for.
ASSUMED_JOB_SECONDS = 120.0
ASSUMED_SLOW_JOB_SECONDS = 300.0
ASSUMED_CALL_SECONDS = 2.0
# CPU of worker, Prefect server and Postgres together, in seconds
CPU_PER_FLOW = 0.35
CPU_PER_EVALUATION = 0.012
CPU_PER_START = 6.0  # a run on the work pool: a process that imports everything

SECONDS = 60


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one vendor job and one LLM call take, seconds; `jobs` and `calls` are how many were measured."""

    job_seconds: float
    slow_job_seconds: float
    call_seconds: float
    jobs: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a night has to do: `owners` are orgs or networks, `flows` those of orgs and members, `starts` runs."""

    scope: Scope
    owners: int
    flows: int
    starts: int
    jobs: int
    calls: int
    cores: int


class Bound(BaseModel):
    """One thing that a night cannot be faster than, with the arithmetic in words."""

    name: str
    seconds: float
    because: str


def pace_of(measured: Measured, time_scale: float = 1.0) -> Pace:
    """Return how long things took in recent batches; what was not measured is assumed, `time_scale` times faster."""

    def known(seconds: float | None, assumed: float) -> float:
        return assumed / time_scale if seconds is None else seconds

    return Pace(
        job_seconds=known(measured.job_seconds, ASSUMED_JOB_SECONDS),
        slow_job_seconds=known(measured.slow_job_seconds, ASSUMED_SLOW_JOB_SECONDS),
        call_seconds=known(measured.call_seconds, ASSUMED_CALL_SECONDS),
        jobs=measured.jobs,
        calls=measured.calls,
    )


def bounds_of(extent: Extent, pace: Pace, settings: Settings) -> list[Bound]:
    """Return the bounds of a night, the longest first; nothing to do has none."""
    if not (extent.owners and (extent.jobs or extent.calls)):
        return []
    bounds = [*_vendor_bounds(extent, pace, settings), *_reading_bounds(extent, pace, settings)]
    bounds += [_places(extent, pace, settings), _cpu(extent)]
    return sorted((bound for bound in bounds if bound.seconds > 0), key=lambda bound: -bound.seconds)


def _vendor_bounds(extent: Extent, pace: Pace, settings: Settings) -> Sequence[Bound]:
    if not extent.jobs:
        return []
    vendor = settings.brightdata
    tail = f"the last job takes {pace.slow_job_seconds:.0f} s"
    submitting = (extent.jobs - 1) / vendor.submissions_per_minute * SECONDS
    running = max(extent.jobs / vendor.max_running_jobs * pace.job_seconds, pace.slow_job_seconds)
    return [
        Bound(
            name="submissions per minute",
            seconds=submitting + pace.slow_job_seconds,
            because=f"{extent.jobs:,} vendor jobs at {vendor.submissions_per_minute:g} a minute; {tail}",
        ),
        Bound(
            name="running vendor jobs",
            seconds=running,
            because=f"{extent.jobs:,} jobs of {pace.job_seconds:.0f} s, {vendor.max_running_jobs:,} at a time; {tail}",
        ),
    ]


def _reading_bounds(extent: Extent, pace: Pace, settings: Settings) -> Sequence[Bound]:
    llm, at_a_time = settings.llm, settings.llm.llm_concurrency * settings.shards
    calls = f"{extent.calls:,} LLM calls"
    bounds = [
        Bound(
            name="LLM calls at a time",
            seconds=ceil(extent.calls / at_a_time) * pace.call_seconds,
            because=f"{calls} of {pace.call_seconds:.1f} s, {at_a_time:,} at a time",
        )
    ]
    if llm.llm_requests_per_minute:
        seconds = extent.calls / llm.llm_requests_per_minute * SECONDS
        because = f"{calls} at {llm.llm_requests_per_minute:g} a minute"
        bounds.append(Bound(name="LLM requests per minute", seconds=seconds, because=because))
    if llm.llm_tokens_per_minute:
        tokens = extent.calls * (USUAL_READING.input + USUAL_READING.output)
        seconds = tokens / llm.llm_tokens_per_minute * SECONDS
        because = f"{tokens:,} tokens at {llm.llm_tokens_per_minute:g} a minute"
        bounds.append(Bound(name="LLM tokens per minute", seconds=seconds, because=because))
    return bounds


def _places(extent: Extent, pace: Pace, settings: Settings) -> Bound:
    """Each org or network waits for its jobs and holds a place meanwhile."""
    each = settings.orgs_in_flight if extent.scope == "org" else NETWORKS_AT_A_TIME
    rounds = ceil(extent.owners / (each * settings.shards))
    waiting = pace.job_seconds if extent.jobs else 0.0
    waits = f"each round waits for jobs ({waiting:.0f} s) and calls ({pace.call_seconds:.1f} s)"
    return Bound(
        name="orgs in flight" if extent.scope == "org" else "networks at a time",
        seconds=rounds * (waiting + pace.call_seconds),
        because=f"{extent.owners:,} in {rounds:,} rounds of {each * settings.shards:,}; {waits}",
    )


def _cpu(extent: Extent) -> Bound:
    seconds = extent.flows * CPU_PER_FLOW + extent.calls * CPU_PER_EVALUATION + extent.starts * CPU_PER_START
    return Bound(
        name="CPU",
        seconds=seconds / extent.cores,
        because=f"{extent.flows:,} flows and {extent.calls:,} calls: {seconds:,.0f} core-seconds on {extent.cores}",
    )
