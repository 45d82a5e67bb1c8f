"""Flows inside a flow: many at a time, but no more than the process has places for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tasks.artifacts import among_many
from tasks.resources import current
from visibility.networks import NETWORKS_AT_A_TIME

Item = TypeVar("Item")
Result = TypeVar("Result")


async def side_by_side(items: Sequence[Item], run: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """Run a flow for each org, each in one of the process's ORGS_IN_FLIGHT places; return the results in order.

    A flow that waits for other flows of this process must not hold a place: they might all be taken by such.
    """

    async def one(item: Item) -> Result:
        among_many.set(True)  # in a context of its own
        return await run(item)

    return await _gathered(items, one, current().in_flight)


async def networks_side_by_side(items: Sequence[Item], run: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """Run a flow for each network, a few at a time; waiting for those of its members, it takes none of their places."""
    return await _gathered(items, run, asyncio.Semaphore(NETWORKS_AT_A_TIME))


async def _gathered(
    items: Sequence[Item], run: Callable[[Item], Awaitable[Result]], places: asyncio.Semaphore
) -> list[Result]:
    async def one(item: Item) -> Result | Exception:
        async with places:
            try:
                return await run(item)
            except Exception as error:  # raised when all have ended: none works on while what it uses is closed
                return error

    ends = await asyncio.gather(*map(one, items))
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return [end for end in ends if not isinstance(end, Exception)]
