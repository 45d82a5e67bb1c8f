"""Evaluate many orgs in one process, one shard of a night: their questions travel in common vendor jobs.

Deployed as `evaluate-orgs`; locally `python -m flows.evaluate_orgs --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.shard_command import evaluate_orgs_command

    evaluate_orgs_command()

from datetime import UTC, date, datetime
from uuid import UUID

from prefect import State, flow
from prefect.runtime import flow_run

from flows.guards import alert_on_cancellation, alert_on_crash, alerting, ended
from flows.org_evaluation import org_evaluation
from flows.side_by_side import side_by_side
from tasks import resources
from tasks.shard import ShardProgress, summarise
from visibility.domain import check_run_date
from visibility.errors import BatchFailed, sentence_of
from visibility.shard_summary import OrgEnd, ShardSummary, org_end
from visibility.summary import OrgEvaluationSummary


def _name() -> str:
    return f"evaluate {len(flow_run.parameters['org_ids'])} orgs of {flow_run.parameters.get('run_date') or 'today'}"


@flow(
    name="evaluate-orgs",
    flow_run_name=_name,
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def evaluate_orgs(
    org_ids: list[UUID], run_date: date | None = None, triggered_by: str = "manual"
) -> ShardSummary:
    """Evaluate each org for one UTC date in a flow of its own, ORGS_IN_FLIGHT at a time; a failing one stops no other.

    Run again, it does only what is left. Raises InvalidInput for a wrong date, BatchFailed when too many orgs failed.
    """
    about = alerting(f"evaluation of {len(org_ids)} orgs")
    async with about as problems, resources.opened(linger_seconds=None, patient=True):
        today = datetime.now(UTC).date()
        day = check_run_date(run_date or today, today)
        progress = await ShardProgress.begin(len(set(org_ids)))

        async def evaluate(org_id: UUID) -> None:
            state = await ended(org_evaluation(org_id, triggered_by, None, day, return_state=True))
            await progress.add(await _ended(org_id, state))

        await side_by_side(list(dict.fromkeys(org_ids)), evaluate)
        await progress.finish()
        summary = await summarise(progress.ends, day)
        return problems.told_with(summary.raise_if_failed())


async def _ended(org_id: UUID, state: State[OrgEvaluationSummary]) -> OrgEnd:
    """Return how an org's flow ended; one that failed brings its summary with its error, if it came that far."""
    result = await state.aresult(raise_on_failure=False)
    reason = sentence_of(result) if isinstance(result, BaseException) else None
    found = result.summary if isinstance(result, BatchFailed) else result
    summary = found if isinstance(found, OrgEvaluationSummary) else None
    return org_end(org_id, state.type.value.lower(), state.state_details.flow_run_id, summary, reason)
