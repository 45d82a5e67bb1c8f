"""Read the stored answers to an org's own questions again with the current extractor; nobody is asked or charged.

Deployed as `org-reevaluation`; locally `python -m flows.org_reevaluation --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.reevaluation_commands import org_reevaluation_command

    org_reevaluation_command()

from datetime import date
from uuid import UUID

from prefect import flow

from flows.guards import alert_on_cancellation, alert_on_crash, alerting
from flows.reevaluation import reevaluate
from tasks import resources
from visibility.reevaluation import ReevaluationSummary


@flow(
    name="org-reevaluation",
    flow_run_name="re-evaluate {org_id}",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def org_reevaluation(org_id: UUID, since: date | None = None, until: date | None = None) -> ReevaluationSummary:
    """Replay the answers of the batches from `since` to `until`, by default of the last 30 days, beside the old rows.

    Raises InvalidInput for an unknown org or a window that ends before it begins, BatchFailed when too few answers
    could be read; those that could not keep their old findings. Nothing to do is a clean finish.
    """
    async with alerting(f"re-evaluation of {org_id}") as problems, resources.opened(asks=False, patient=True):
        return (await reevaluate("org", org_id, since, until, problems)).raise_if_failed()
