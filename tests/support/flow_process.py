"""Flows in processes of their own that can be killed: forked from one that has imported everything."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from typing import Any

from tests.support.waiting import PATIENCE
from visibility.errors import LeaseLost
from visibility.settings import Settings

LEASE_LOST = 75  # exit code of a flow that was stopped because another one has taken its lease over

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["tests.support.flow_process", "flows.org_evaluation", "flows.network_questions", "pandas", "openai"]
)


def start_flow(api_url: str, settings: Settings, flow: str, **parameters: Any) -> ForkServerProcess:
    """Start a flow by its name, which is its module's too, in a new process; it exits with 0 when the flow succeeds."""
    process = _processes.Process(target=run_flow, args=(api_url, settings, flow, parameters), daemon=True)
    process.start()
    return process


def kill_at(
    process: ForkServerProcess, counted: Callable[[], tuple[int, ...]], score: int, delay_seconds: float
) -> str:
    """Kill -9 a process `delay_seconds` after the sum of the counted rows reaches `score`; return where it was."""
    while process.is_alive() and sum(counted()) < score:
        time.sleep(0.01)
    time.sleep(delay_seconds)
    process.kill()
    process.join(20)
    ended = " (ended before the kill)" if process.exitcode == 0 else ""
    return f"{counted()}{ended}"


def exit_codes(*processes: ForkServerProcess, within_seconds: float = PATIENCE) -> list[int | None]:
    """Wait for processes; return their exit codes, None for one that has not ended."""
    deadline = time.monotonic() + within_seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return [process.exitcode for process in processes]


def run_flow(api_url: str, settings: Settings, flow: str, parameters: dict[str, Any]) -> None:
    """Run a flow in this process, which exits with LEASE_LOST when another one takes its lease over."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks import resources

    async def run() -> None:
        try:
            async with resources.opened(settings):
                await getattr(import_module(f"flows.{flow}"), flow)(**parameters)
        except LeaseLost:
            raise SystemExit(LEASE_LOST) from None

    logging.disable(logging.CRITICAL)
    with temporary_settings({PREFECT_API_URL: api_url}):
        asyncio.run(run())
