"""Ask a network's questions once, then read the answers for every one of its orgs, each in a flow of its own.

Deployed as `network-questions`; locally `python -m flows.network_questions --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.network_commands import network_questions_command

    network_questions_command()

import asyncio
from datetime import UTC, date, datetime
from uuid import UUID

from prefect import flow

from flows.guards import alert_on_cancellation, alert_on_crash, alerting, working_on
from flows.members import check_spawn, evaluate_members
from tasks import resources
from tasks.ask import ask_questions
from tasks.batch import complete_asking, open_batch, start_batch
from tasks.money import hold_credits, settle_rest
from tasks.network import load_members, publish_standings
from visibility.billing.holds import Claim
from visibility.domain import BatchKey, Spawn, check_run_date
from visibility.network_summary import NetworkSummary


@flow(
    name="network-questions",
    flow_run_name="ask for network {network_id}",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def network_questions(
    network_id: UUID,
    triggered_by: str = "manual",
    user_id: str | None = None,
    run_date: date | None = None,
    spawn: Spawn = "subflow",
) -> NetworkSummary:
    """Ask a network's questions for one UTC date and evaluate every member; run again, it does only what is left.

    `spawn`: the members' flows run inside this one ("subflow"), or as runs of the deployment network-org-missing.

    Raises InvalidInput for an unknown network, InsufficientCredits before anything is asked, BatchFailed when too
    few answers came back or too many members could not be evaluated. What was answered is kept in any case.
    """
    await check_spawn(spawn)
    async with alerting(f"questions of network {network_id}") as problems, resources.opened():
        today = datetime.now(UTC).date()
        key = BatchKey("network", network_id, check_run_date(run_date or today, today))
        batch = await open_batch(key, triggered_by, user_id)
        async with working_on(batch):
            members = () if batch.progress.nothing_left else await load_members(network_id)
            if members:  # what was to be asked when all of them left stays unasked: nobody would read or pay for it
                await hold_credits(batch.lease, [Claim(batch.batch_id, member.org_id) for member in members])
                await start_batch(batch.lease)
                asking = (problems.tolerate(ask_questions(batch.batch_id, model)) for model in batch.models)
                await asyncio.gather(*asking)
            await complete_asking(batch.lease)
            children = await evaluate_members(key, batch.batch_id, spawn, problems)
            await problems.tolerate(settle_rest(batch.lease))
            summary = await publish_standings(batch.batch_id, children)
        return problems.told_with(summary.raise_if_failed())
