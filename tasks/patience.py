"""Waiting for Prefect's API no longer than a picture or an alert is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")

_going_on: set[asyncio.Future[Any]] = set()


async def within(seconds: float, request: Awaitable[Result]) -> Result:
    """Wait at most so long for a request; raises TimeoutError. The request itself goes on and ends by itself.

    It is not cancelled: amid connecting that costs the client the connection for good (httpcore 1.0.9), and all
    flows of a process share Prefect's sixteen; when they are gone, every flow of the process waits for ever.
    """
    running = asyncio.ensure_future(request)
    _going_on.add(running)
    running.add_done_callback(_ended)
    done, _ = await asyncio.wait({running}, timeout=seconds)
    if not done:
        raise TimeoutError
    return running.result()


def _ended(request: asyncio.Future[Any]) -> None:
    _going_on.discard(request)
    if not request.cancelled():
        request.exception()  # nobody may be left to ask for it
