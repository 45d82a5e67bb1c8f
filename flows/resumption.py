"""Flows that are run again for what an earlier one has left; each does what is missing, under its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prefect import State

from flows.guards import Problems, ended
from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from flows.org_evaluation import org_evaluation
from flows.side_by_side import networks_side_by_side, side_by_side
from tasks.reconcile import adopt_jobs, find_idle_batches, find_left_readings, sentence
from visibility.errors import LeaseLost, VisibilityError
from visibility.network_summary import NetworkOrgSummary, NetworkSummary
from visibility.reconcile import Action, LeftWork, batch_action, reading_action
from visibility.store.reconcile import LeftBatch, LeftReading
from visibility.summary import OrgEvaluationSummary

FLOWS_TELL = ("resume", "read")  # what these flows could not do is among the problems already


async def told(problems: Problems, step: Awaitable[list[Action]]) -> list[Action]:
    """Await a step whose failure must not stop the others; remember what it could not do."""
    actions = await problems.tolerate(step) or []
    for action in actions:
        if action.failed and action.what not in FLOWS_TELL:
            theirs = Problems()
            theirs.add(VisibilityError(action.result))
            problems.take_over(action.subject, theirs)
    return actions


async def resume_batches(batches: Sequence[LeftBatch]) -> list[Action]:
    """Run the flows of batches again, side by side; one that fails stops no other."""

    async def one(batch: LeftBatch) -> Action:
        start: Callable[..., Awaitable[State[Any]]] = org_evaluation if batch.key.scope == "org" else network_questions
        state = await ended(start(batch.key.owner_id, "reconcile", None, batch.key.run_date, return_state=True))
        return await _ended(batch_action("resume", batch), state)

    of_orgs, of_networks = await asyncio.gather(
        side_by_side([batch for batch in batches if batch.key.scope == "org"], one),
        networks_side_by_side([batch for batch in batches if batch.key.scope == "network"], one),
    )
    return of_orgs + of_networks


async def adopt_left_jobs(left: LeftWork) -> list[Action]:
    """Fetch what was bought, then run the flows of the batches that got answers: these are read and charged."""
    if not left.jobs:
        return []
    adopted, answered = await adopt_jobs(left.jobs)
    resumed_anyway = {batch.batch_id for batch in left.batches}
    return adopted + await resume_batches(await find_idle_batches(left.window, answered - resumed_anyway))


async def resume_readings(left: LeftWork) -> list[Action]:
    """Run the flows of members again whose reading nobody goes on with; their network's flow may have done so."""
    if not left.readings:
        return []

    async def one(reading: LeftReading) -> Action:
        state = await ended(
            network_org_missing(reading.org_id, reading.network_id, triggered_by="reconcile", return_state=True)
        )
        return await _ended(reading_action(reading), state)

    return await side_by_side(await find_left_readings(left.window), one)


async def _ended(action: Action, state: State[Any]) -> Action:
    """Return how a flow ended; one whose lease another flow has taken is that one's."""
    result = await state.aresult(raise_on_failure=False)
    if isinstance(result, OrgEvaluationSummary | NetworkSummary):
        return action.done(f"{result.status}, {result.charged_usd} USD charged in all", result.answered)
    if isinstance(result, NetworkOrgSummary):
        return action.done(result.status, result.evaluated_now, result.charged_usd)
    if isinstance(result, LeaseLost):
        return action.done("another flow is at work on it")
    return action.not_done(sentence(result))
