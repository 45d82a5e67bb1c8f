"""Evaluate every organisation whose schedule has the day's weekday; run again, it does only what is not done.

Deployed as `daily-evaluations`, 02:00 UTC; locally `python -m flows.daily_evaluations --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.night_commands import daily_evaluations_command

    daily_evaluations_command()

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from prefect import State, flow
from prefect.runtime import flow_run

from flows.evaluate_orgs import evaluate_orgs
from flows.guards import Problems, alert_on_cancellation, alert_on_crash, alerting, ended
from flows.nights import chosen_spawn, tell_of_pool
from flows.pool_runs import problems_of, reason_of_start, wait_for_runs
from flows.shards import DEPLOYMENT, orgs_of, start_shards
from tasks import resources
from tasks.night import Night, close_night, look_at_schedule, showing_progress
from visibility.domain import Spawn
from visibility.errors import BatchFailed, sentence_of
from visibility.night import NightEnds, NightSummary
from visibility.night_plan import groups
from visibility.shard_summary import ShardSummary

MOST_ORGS = 5000  # in one flow here; Prefect refuses parameters of more than 512 kB


def _name() -> str:
    return f"orgs of {flow_run.parameters.get('run_date') or 'today'}"


@flow(
    name="daily-evaluations",
    flow_run_name=_name,
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def daily_evaluations(run_date: date | None = None, spawn: Spawn | None = None) -> NightSummary:
    """Evaluate the orgs that are scheduled on the weekday of a UTC date, by default today, also of a missed one.

    `spawn`: shards as runs of the deployment evaluate-orgs ("deployment"), or all orgs in this process ("subflow");
    by default on the pool where a worker is online for them.

    Nobody scheduled is a clean finish. Raises InvalidInput for a wrong date, ConfigurationError for a missing key or
    deployment before anything is started, BatchFailed when too many of the orgs could not be done.
    """
    async with (
        alerting(f"night of organisations {run_date or 'of today'}") as problems,
        resources.opened(linger_seconds=None, asks=False, reads=False, patient=True),
    ):
        night = await look_at_schedule("orgs", run_date)
        where = await chosen_spawn(spawn, DEPLOYMENT, anything=bool(night.todo))
        async with showing_progress(night):
            ends = await (evaluate_here(night) if where == "subflow" else evaluate_on_pool(night, problems))
        summary = await close_night(night, ends)
        tell_of_pool(summary, problems)
        return problems.told_with(summary.raise_if_failed())


async def evaluate_here(night: Night) -> NightEnds:
    """Evaluate the orgs in this process, all of them in one shard: their questions share vendor jobs."""
    ends = NightEnds(spawn="subflow")
    for org_ids in groups("orgs", night.todo_ids, MOST_ORGS):
        state = await ended(evaluate_orgs(list(org_ids), night.run_date, "schedule", return_state=True))
        ends.started += 1
        ends.reasons.update(await _reasons(state, org_ids))
    return ends


async def _reasons(state: State[ShardSummary], org_ids: Sequence[UUID]) -> dict[UUID, str]:
    result = await state.aresult(raise_on_failure=False)
    summary = result.summary if isinstance(result, BatchFailed) else result
    if isinstance(summary, ShardSummary):
        return {end.org_id: end.reason for end in summary.ends if end.reason}
    return dict.fromkeys(org_ids, sentence_of(result)) if isinstance(result, BaseException) else {}


async def evaluate_on_pool(night: Night, problems: Problems) -> NightEnds:
    """Have shards evaluate the orgs as runs on the work pool, and wait for all that work on them."""
    shards = await start_shards(night.run_date, night.todo_ids, resources.current().settings.shard_orgs)
    seen = await wait_for_runs([run.id for run in shards.runs])
    ends = {run.id: reason for run in shards.runs if (reason := reason_of_start(run, seen))}
    for run in shards.runs:
        if run.id not in ends:  # of one that failed, each org that was not done is told
            problems.take_over(run.name, problems_of(run, seen))
    return NightEnds(
        spawn="deployment",
        started=len(shards.own),
        awaited=len(shards.others),
        reasons=shards.refused,
        shard_reasons={org_id: ends[run.id] for run in shards.runs if run.id in ends for org_id in orgs_of(run)},
    )
