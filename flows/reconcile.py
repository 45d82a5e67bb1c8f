"""Finish what flows that died have left: resumed, adopted, settled, released. Nothing left is silent.

Deployed as `reconcile`, hourly; locally `python -m flows.reconcile --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.reconcile_command import reconcile_command

    reconcile_command()

import asyncio

from prefect import flow

from flows.guards import alert_on_cancellation, alert_on_crash, alerting
from flows.resumption import adopt_left_jobs, resume_batches, resume_readings, told
from tasks import resources
from tasks.reconcile import find_left_work, release_holds, settle_owed, summarise
from visibility.reconcile import ReconcileSummary


@flow(
    name="reconcile",
    flow_run_name="reconcile",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def reconcile(dry_run: bool = False) -> ReconcileSummary:
    """Do what no live flow does any more; two at once are harmless. A `dry_run` only says what there is.

    What cannot be done is told in one alert and tried again the next time, except a batch that fails: it stays failed
    until somebody starts it.
    """
    async with (
        alerting("reconcile") as problems,
        resources.opened(linger_seconds=None, asks=not dry_run, reads=not dry_run, patient=True),
    ):
        left = await find_left_work()
        if dry_run or left.nothing:
            return await summarise(left.window, left.actions, dry_run=dry_run)
        resumed, adopted = await asyncio.gather(
            told(problems, resume_batches(left.batches)),  # running without a live flow
            told(problems, adopt_left_jobs(left)),  # submitted and not fetched, or submitting without a snapshot
        )
        read = await told(problems, resume_readings(left))  # a member's flow is gone
        settled = await told(problems, settle_owed(left.window))  # evaluated and uncharged
        released = await told(problems, release_holds(left.window))  # held by nobody
        return await summarise(left.window, [*resumed, *adopted, *read, *settled, *released], dry_run=False)
