"""Ask and evaluate every network whose schedule has the day's weekday; run again, it does only what is not done.

Deployed as `daily-networks`, 03:00 UTC; locally `python -m flows.daily_networks --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.night_commands import daily_networks_command

    daily_networks_command()

from datetime import date
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run

from flows.guards import Problems, alert_on_cancellation, alert_on_crash, alerting, ended
from flows.network_questions import network_questions
from flows.nights import chosen_spawn, tell_of_pool
from flows.pool_runs import Wanted, problems_of, reason_of_start, start_runs, wait_for_runs
from flows.side_by_side import networks_side_by_side
from tasks import resources
from tasks.night import Night, close_night, look_at_schedule, showing_progress
from visibility.display import printable
from visibility.domain import Spawn
from visibility.errors import sentence_of
from visibility.night import NightEnds, NightSummary

DEPLOYMENT = "network-questions/network-questions"


def _name() -> str:
    return f"networks of {flow_run.parameters.get('run_date') or 'today'}"


@flow(
    name="daily-networks",
    flow_run_name=_name,
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def daily_networks(run_date: date | None = None, spawn: Spawn | None = None) -> NightSummary:
    """Ask and evaluate the networks that are scheduled on the weekday of a UTC date, by default today.

    `spawn`: each as a run of the deployment network-questions ("deployment"), or in this process, a few at a time
    ("subflow"); by default on the pool where a worker is online for them.

    Nothing scheduled is a clean finish. Raises InvalidInput for a wrong date, ConfigurationError for a missing key or
    deployment before anything is started, BatchFailed when too many of the networks could not be done.
    """
    async with (
        alerting(f"night of networks {run_date or 'of today'}") as problems,
        resources.opened(linger_seconds=None, asks=False, reads=False, patient=True),
    ):
        night = await look_at_schedule("networks", run_date)
        where = await chosen_spawn(spawn, DEPLOYMENT, anything=bool(night.todo))
        async with showing_progress(night):
            ends = await (evaluate_here(night) if where == "subflow" else evaluate_on_pool(night, problems))
        summary = await close_night(night, ends)
        tell_of_pool(summary, problems)
        return problems.told_with(summary.raise_if_failed())


async def evaluate_here(night: Night) -> NightEnds:
    """Ask the networks in this process; their questions share vendor jobs, their members its places."""

    async def reason(network_id: UUID) -> str | None:
        state = await ended(network_questions(network_id, "schedule", None, night.run_date, return_state=True))
        result = await state.aresult(raise_on_failure=False)
        return sentence_of(result) if isinstance(result, BaseException) else None

    reasons = zip(night.todo_ids, await networks_side_by_side(night.todo_ids, reason), strict=True)
    return NightEnds(
        spawn="subflow", started=len(night.todo), reasons={network_id: why for network_id, why in reasons if why}
    )


async def evaluate_on_pool(night: Night, problems: Problems) -> NightEnds:
    """Have a run on the work pool for each network that is not done, and wait for all of them."""
    given = {"run_date": night.run_date.isoformat(), "triggered_by": "schedule"}
    wanted = [
        Wanted(one, f"network-questions-{night.run_date}-{one}", {**given, "network_id": str(one)})
        for one in night.todo_ids
    ]
    runs = await start_runs(DEPLOYMENT, wanted, again=set(night.todo_ids))
    started = {network_id: run for network_id, run in runs.items() if isinstance(run, FlowRun)}
    seen = await wait_for_runs([run.id for run in started.values()])
    ends = {network_id: reason_of_start(run, seen) for network_id, run in runs.items()}
    for network in night.todo:
        if not ends[network.owner_id]:
            problems.take_over(printable(network.name), problems_of(runs[network.owner_id], seen))
    awaited = sum(run.created is not None and run.created < night.began_at for run in started.values())
    return NightEnds(
        spawn="deployment",
        started=len(started) - awaited,
        awaited=awaited,
        reasons={network_id: why for network_id, why in ends.items() if why},
    )
