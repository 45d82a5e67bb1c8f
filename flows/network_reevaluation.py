"""Read the stored answers to a network's questions again, for every org that they were read for; free of charge.

Deployed as `network-reevaluation`; locally `python -m flows.network_reevaluation --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.reevaluation_commands import network_reevaluation_command

    network_reevaluation_command()

from datetime import date
from uuid import UUID

from prefect import flow

from flows.guards import alert_on_cancellation, alert_on_crash, alerting
from flows.reevaluation import reevaluate
from tasks import resources
from visibility.reevaluation import ReevaluationSummary


@flow(
    name="network-reevaluation",
    flow_run_name="re-evaluate network {network_id}",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def network_reevaluation(
    network_id: UUID, since: date | None = None, until: date | None = None
) -> ReevaluationSummary:
    """Replay the network's answers from `since` to `until`, by default of the last 30 days, beside the old rows.

    Every org with evaluations of them is read for, also one that has left the network; one that fails leaves the
    others alone. Raises InvalidInput for an unknown network or a window that ends before it begins, BatchFailed when
    too few answers could be read. Nothing to do is a clean finish.
    """
    async with (
        alerting(f"re-evaluation of network {network_id}") as problems,
        resources.opened(asks=False, patient=True),
    ):
        return (await reevaluate("network", network_id, since, until, problems)).raise_if_failed()
