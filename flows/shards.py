"""The shards of a day on a work pool: numbered flow runs of evaluate-orgs, of which no two work on the same org."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

from flows.pool_runs import PAGE, is_over, patiently, runs_with_keys, started
from visibility.night_plan import groups

DEPLOYMENT = "evaluate-orgs/evaluate-orgs"
MOST_ROUNDS = 20
NOT_TAKEN = "Other nights of this date took {} numbers for shards of theirs; start the day again."


@dataclass
class Shards:
    """The flow runs that work on the orgs of a day, and why some orgs are in none.

    `own` are those that were started now, `others` those that an earlier flow of the day has started.
    """

    own: list[FlowRun] = field(default_factory=list)
    others: list[FlowRun] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)

    @property
    def runs(self) -> list[FlowRun]:
        """All of them."""
        return [*self.others, *self.own]

    def uncovered(self, org_ids: Iterable[UUID]) -> list[UUID]:
        """Return the orgs on which none of the runs works, in their order."""
        covered = self.refused.keys() | {org_id for run in self.runs for org_id in orgs_of(run)}
        return [org_id for org_id in org_ids if org_id not in covered]


async def start_shards(run_date: date, org_ids: Sequence[UUID], shard_orgs: int) -> Shards:
    """Start shards for the orgs on which no run of the day works; a run that is over is not repeated, its orgs are.

    Two flows that start shards of a day at the same time find each other's: a number belongs to whoever has used it
    first, and the orgs of the other get another one, or are found among those of a third.
    """
    runs = await _runs_of_the_day(run_date)
    wanted = set(org_ids)
    shards = Shards(others=[run for run in runs.values() if not is_over(run) and wanted & set(orgs_of(run))])
    number = max(runs, default=0)
    for _ in range(MOST_ROUNDS):
        if not (left := shards.uncovered(org_ids)):
            return shards
        numbered = dict(enumerate(groups("orgs", left, shard_orgs), number + 1))
        number = max(numbered)
        given = {key_of(run_date, one): parameters_of(run_date, shard) for one, shard in numbered.items()}
        ends = await started(DEPLOYMENT, given)
        for one, shard in numbered.items():
            _take(shards, shard, ends[key_of(run_date, one)])
    shards.refused.update(dict.fromkeys(shards.uncovered(org_ids), NOT_TAKEN.format(MOST_ROUNDS)))
    return shards


def key_of(run_date: date, number: int) -> str:
    """Return the idempotency key of a day's shard; numbers begin with 1."""
    return f"evaluate-orgs-{run_date}-{number}"


def parameters_of(run_date: date, org_ids: Sequence[UUID]) -> dict[str, Any]:
    """Return the parameters of a shard's flow run, as JSON."""
    return {"org_ids": list(map(str, org_ids)), "run_date": run_date.isoformat(), "triggered_by": "schedule"}


def orgs_of(run: FlowRun) -> list[UUID]:
    """Return the orgs that a shard's flow run evaluates."""
    return [UUID(str(org_id)) for org_id in run.parameters.get("org_ids", ())]


def _take(shards: Shards, org_ids: Sequence[UUID], run: FlowRun | str) -> None:
    """Note what came of starting a shard; a number that was used before brings the run of then."""
    if isinstance(run, str):
        shards.refused.update(dict.fromkeys(org_ids, run))
    elif orgs_of(run) == list(org_ids):
        shards.own.append(run)
    elif not is_over(run):
        shards.others.append(run)


async def _runs_of_the_day(run_date: date) -> dict[int, FlowRun]:
    """Return the shards of the day that there are, by number; read page by page until one brings none."""
    found: dict[int, FlowRun] = {}
    first = 1
    while True:
        keys = {key_of(run_date, number): number for number in range(first, first + PAGE)}
        page = await patiently(runs_with_keys, list(keys))
        if not page:
            return found
        found.update({keys[str(run.idempotency_key)]: run for run in page})
        first += PAGE
