"""Which failed tasks Prefect runs again: those that failed for a passing reason."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from visibility.errors import RetryableError


async def is_retryable(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Return whether the task failed with a RetryableError.

    Async, because a sync condition that asks an async task for its result never retries.
    """
    try:
        await state.result()
    except RetryableError:
        return True
    except BaseException:
        return False
    return False
