"""Ask one org's questions of its models from its locations, read the answers, charge the payer.

Deployed as `org-evaluation`; locally `python -m flows.org_evaluation --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.org_command import org_evaluation_command

    org_evaluation_command()

import asyncio
from asyncio import Future
from datetime import UTC, date, datetime
from uuid import UUID

from prefect import flow

from flows.guards import Problems, alert_on_cancellation, alert_on_crash, alerting, working_on
from tasks import resources
from tasks.ask import ask_questions
from tasks.batch import complete_batch, open_batch, start_batch
from tasks.evaluate import evaluate_answers
from tasks.money import hold_credits, settle_usage
from tasks.names import load_profile
from visibility.arrivals import Arrivals
from visibility.batches import OpenBatch
from visibility.billing.holds import Claim
from visibility.domain import BatchKey, OrgProfile, check_run_date
from visibility.summary import OrgEvaluationSummary


@flow(
    name="org-evaluation",
    flow_run_name="evaluate {org_id}",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def org_evaluation(
    org_id: UUID, triggered_by: str = "manual", user_id: str | None = None, run_date: date | None = None
) -> OrgEvaluationSummary:
    """Evaluate one organisation for one UTC date; run again, it does only what is left.

    Raises InvalidInput for an unknown org, InsufficientCredits before anything is asked, BatchFailed when
    fewer answers than the coverage threshold came back. What was answered is kept and charged in any case.
    """
    async with alerting(f"evaluation of {org_id}") as problems, resources.opened():
        today = datetime.now(UTC).date()
        key = BatchKey("org", org_id, check_run_date(run_date or today, today))
        batch = await open_batch(key, triggered_by, user_id)
        async with working_on(batch):
            if not batch.progress.nothing_left:
                ours = [Claim(batch.batch_id)]
                await hold_credits(batch.lease, ours, owed=ours if batch.progress.uncharged else ())
                await start_batch(batch.lease)
                # while the vendors work: only reading needs it
                profile = asyncio.ensure_future(load_profile(batch, batch.batch_id))
                await asyncio.gather(*(ask_and_evaluate(batch, model, profile, problems) for model in batch.models))
                await problems.tolerate(settle_usage(batch.lease, ours))
            summary = await complete_batch(batch.lease)
        return problems.told_with(summary.raise_if_failed())


async def ask_and_evaluate(batch: OpenBatch, model: str, profile: Future[OrgProfile], problems: Problems) -> None:
    """Ask one model and read its answers as they arrive; what fails here leaves the other models alone."""
    arrivals = Arrivals()

    async def evaluate() -> None:
        await evaluate_answers(batch, model, await profile, arrivals)

    await asyncio.gather(
        problems.tolerate(arrivals.closing(ask_questions(batch.batch_id, model, arrivals))),
        problems.tolerate(evaluate()),
    )
