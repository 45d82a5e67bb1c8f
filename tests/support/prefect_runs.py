"""What Prefect has recorded of flow runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter, TaskRunFilterSubFlowRuns


async def task_runs(flow_run_ids: Sequence[UUID]) -> list[int]:
    """Count the task runs of each flow run, those that stand for inner flows left out.

    The server writes them a little later than they happen: it is asked until the numbers stay.
    """
    own = TaskRunFilter(subflow_runs=TaskRunFilterSubFlowRuns(exists_=False))
    of_flows = FlowRunFilter(id=FlowRunFilterId(any_=list(flow_run_ids)))
    numbers: list[int] = []
    async with get_client() as client:
        for _ in range(20):
            found = await client.read_task_runs(flow_run_filter=of_flows, task_run_filter=own)
            before, counted = numbers, Counter(run.flow_run_id for run in found)
            numbers = [counted[flow_run_id] for flow_run_id in flow_run_ids]
            if numbers == before and all(numbers):
                return numbers
            await asyncio.sleep(1.5)
    raise AssertionError(f"the numbers of task runs do not settle: {numbers}")
