"""Which flow run a task belongs to, and how long that has been running."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect.context import FlowRunContext
from prefect.runtime import flow_run


def flow_run_id() -> UUID | None:
    """Return the id of the flow run; None outside of one."""
    return UUID(flow_run.id) if flow_run.id else None


def seconds_running() -> float:
    """Return how many seconds ago the flow run began; 0 outside of one."""
    context = FlowRunContext.get()
    return (datetime.now(UTC) - context.start_time).total_seconds() if context else 0.0
