"""What was bought: counts over jobs, records and completions, so that tests can hold nothing was bought twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from sandbox.jobs import Job, Slot, echo_id
from sandbox.state import State

PRICE_PER_RECORD_USD = 0.0015


def accounting(state: State, *, detail: bool = True) -> dict[str, Any]:
    """Return totals, and with `detail` every job and every (prompt, country, id) that was submitted.

    A record is sold when its job got ready and the record is delivered without an error; `usable` when it also
    holds an answer that can be read. `bought_twice` lists what was sold usable more than once.
    """
    now = state.clock.now()
    jobs = [(job, job.status(now)) for job in state.jobs.by_id.values()]
    inputs = _inputs(jobs)
    totals: Counter[str] = Counter()
    for entry in inputs:
        totals.update({key: entry[key] for key in ("accepted", "sold", "usable", "failed", "missing")})
    report = {
        "totals": {
            "jobs": len(jobs),
            **{
                f"jobs_{status}": sum(found == status for _, found in jobs)
                for status in ("ready", "failed", "cancelled")
            },
            "jobs_running": state.jobs.running(),
            "inputs_accepted": totals["accepted"],
            "records_sold": totals["sold"],
            "records_usable": totals["usable"],
            "records_failed": totals["failed"],
            "records_missing": totals["missing"],
            "records_cost_usd": round(totals["sold"] * PRICE_PER_RECORD_USD, 6),
            "fetches": sum(job.fetches for job, _ in jobs),
            "calls": dict(state.calls),
            "rate_limited": dict(state.throttled),
            "slack_messages": len(state.slack),
            "faults_struck": dict(state.faults.struck),
        },
        "llm": _llm(state),
        "bought_twice": [entry for entry in inputs if entry["usable"] > 1],
    }
    if detail:
        report["jobs"] = [_job(job, status) for job, status in jobs]
        report["inputs"] = inputs
    return report


def _inputs(jobs: list[tuple[Job, str]]) -> list[dict[str, Any]]:
    """Return one row per (engine, prompt, country, id, replicate) that was ever accepted."""
    rows: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for job, status in jobs:
        for slot in job.slots:
            rows[_key(job, slot)].update(_counts(slot, status == "ready"))
    names = ("engine", "prompt", "country", "id", "replicate")
    kinds = ("accepted", "sold", "usable", "failed", "missing")
    return [
        {**dict(zip(names, key, strict=True)), **{kind: counts[kind] for kind in kinds}} for key, counts in rows.items()
    ]


def _key(job: Job, slot: Slot) -> tuple[str, ...]:
    entry = slot.input
    country, replicate = str(entry.get("country") or ""), str(entry.get("replicate") or "")
    return job.engine, str(entry["prompt"]), country, echo_id(entry), replicate


def _counts(slot: Slot, ready: bool) -> dict[str, int]:
    return {
        "accepted": 1,
        "sold": int(ready and slot.sold),
        "usable": int(ready and slot.usable),
        "failed": int(ready and slot.error_code is not None),
        "missing": int(ready and slot.delivered == 0),
    }


def _job(job: Job, status: str) -> dict[str, Any]:
    ready = status == "ready"
    return {
        "snapshot_id": job.snapshot_id,
        "dataset_id": job.dataset_id,
        "engine": job.engine,
        "status": status,
        "inputs": len(job.slots),
        "seconds": round(job.seconds, 6),
        "sold": sum(ready and slot.sold for slot in job.slots),
        "usable": sum(ready and slot.usable for slot in job.slots),
        "failed": sum(ready and slot.error_code is not None for slot in job.slots),
        "fetches": job.fetches,
        "faults": sorted(job.faults),
        "ids": [echo_id(slot.input) for slot in job.slots],
    }


def _llm(state: State) -> dict[str, Any]:
    models = {model: {**asdict(usage), "purposes": dict(usage.purposes)} for model, usage in state.usage.items()}
    fields = ("calls", "batched_calls", "repeated_calls", "input_tokens", "cached_tokens", "output_tokens", "searches")
    purposes: Counter[str] = sum((usage.purposes for usage in state.usage.values()), Counter())
    totals = {name: sum(getattr(usage, name) for usage in state.usage.values()) for name in fields}
    drawn = state.clock.llm_seconds
    seconds = {"median_seconds": median(drawn) if drawn else None, "mean_seconds": fmean(drawn) if drawn else None}
    batches = Counter(job.status(state.clock.now()) for job in state.batches.by_id.values())
    return {**totals, "purposes": dict(purposes), "models": models, "batches": dict(batches), **seconds}
