"""Read for one org what its network has asked and nobody has read for it yet, and charge its partner.

Deployed as `network-org-missing`; locally `python -m flows.network_org_missing --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.network_commands import network_org_missing_command

    network_org_missing_command()

from datetime import date
from uuid import UUID

from prefect import flow

from flows.guards import alert_on_cancellation, alert_on_crash, alerting, reading_for
from tasks import resources
from tasks.evaluate import evaluate_missing
from tasks.money import claims_of, hold_what_is_covered, settle_usage
from tasks.names import load_profile
from tasks.network import find_missing, summarise
from visibility.network_summary import NetworkOrgSummary


@flow(
    name="network-org-missing",
    flow_run_name="evaluate {org_id} in its network",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def network_org_missing(
    org_id: UUID,
    network_id: UUID | None = None,
    since: date | None = None,
    triggered_by: str = "manual",
    run_date: date | None = None,
) -> NetworkOrgSummary:
    """Evaluate one org on its network's answers since a UTC date, by default the later of its joining and 30 days ago.

    `run_date`: on the batch of this date too, which the flow that asked it passes for every member it held credits of.

    Raises InvalidInput for an org that is in no network or in another one than `network_id`, InsufficientCredits
    before anything is evaluated (where some batches are covered: after these), BatchFailed when too few answers could
    be read. Nothing missing is a clean finish.
    """
    async with alerting(f"network evaluation of {org_id}") as problems, resources.opened(asks=False):
        reading = await find_missing(org_id, network_id, since, run_date, triggered_by)
        counts = settlement = refused = None
        async with reading_for(reading):
            if not reading.nothing_left:
                covered, refused = await hold_what_is_covered(reading)
                profile = await load_profile(reading.org, covered.missing[-1].batch_id)
                counts = await problems.tolerate(evaluate_missing(covered, profile))
                settlement = await problems.tolerate(settle_usage(reading.lease, claims_of(reading)))
            summary = await summarise(reading, counts, settlement)
        if refused is not None:
            raise refused
        return problems.told_with(summary.raise_if_failed())
