"""A process that holds a place of a limit at a Prefect server until it is killed."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

_processes = multiprocessing.get_context("forkserver")


def start_holder(api_url: str, name: str) -> ForkServerProcess:
    """Return the process when it holds the place."""
    here, there = _processes.Pipe()
    process = _processes.Process(target=hold, args=(there, api_url, name), daemon=True)
    process.start()
    here.recv()
    return process


def hold(there: Connection, api_url: str, name: str) -> None:
    """Say that the place is held, and hold it for ever."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.limits import GlobalLimits
    from visibility.providers.limits import ProcessLimits
    from visibility.settings import BrightDataSettings

    async def run() -> None:
        limits = GlobalLimits(ProcessLimits(BrightDataSettings()), running_jobs=name)
        async with limits.running_job("brightdata:chatgpt"):
            there.send("held")
            await asyncio.Event().wait()

    with temporary_settings({PREFECT_API_URL: api_url}):
        asyncio.run(run())
