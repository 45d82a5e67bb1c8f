"""Waiting for what other processes do. It ends as soon as it happens; how long it may take, the machine decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 150  # seconds; a quarter of what a test has: a process that starts beside others on two cores may need 60


def eventually(happened: Callable[[], T], seen: Callable[[], object] = str, *, every: float = 0.1) -> T:
    """Return the first value that is true, asked for `every` so many seconds.

    `seen` says what there is instead when it takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while not (value := happened()):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {seen()}"
        time.sleep(every)
    return value


async def eventually_beside(happened: Callable[[], T], seen: Callable[[], object] = str, *, every: float = 0.1) -> T:
    """The same while other coroutines go on: what is asked for is asked in another thread."""
    deadline = time.monotonic() + PATIENCE
    while not (value := await asyncio.to_thread(happened)):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {seen()}"
        await asyncio.sleep(every)
    return value
