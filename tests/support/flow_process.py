"""A flow in a process of its own that can be killed: forked from one that has imported everything."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from datetime import date
from multiprocessing.context import ForkServerProcess
from uuid import UUID

from visibility.settings import Settings

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.support.flow_process", "flows.org_evaluation", "pandas", "openai"])


def start_evaluation(api_url: str, settings: Settings, org_id: UUID, run_date: date) -> ForkServerProcess:
    """Start `org_evaluation` in a new process."""
    process = _processes.Process(target=_evaluate, args=(api_url, settings, org_id, run_date), daemon=True)
    process.start()
    return process


def _evaluate(api_url: str, settings: Settings, org_id: UUID, run_date: date) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.org_evaluation import org_evaluation
    from tasks import resources

    async def run() -> None:
        async with resources.opened(settings):
            await org_evaluation(org_id, run_date=run_date)

    logging.disable(logging.CRITICAL)
    with temporary_settings({PREFECT_API_URL: api_url}):
        asyncio.run(run())
