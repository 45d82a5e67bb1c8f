"""Ending a process, or a collector as if it were one, at a chosen step of its work.

Steps are the moments before and after every transaction and every call to the vendor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from visibility.collection import AnswerCollector

Die = Callable[[], Awaitable[None]]


class Steps:
    """Counts steps; at step `last` it awaits `die`, and nothing of the collector goes on after that."""

    def __init__(self, collector: AnswerCollector, die: Die, last: int | None = None) -> None:
        self.taken = 0
        self._last = last
        self._die = die
        database, client = collector._database, collector._client
        assert client is not None
        collector._runner._database = collector._runner.submission._database = self._wrapped(database)
        collector._runner.submission._lookup._database = collector._database = collector._runner._database
        client._call = self._around(client._call)  # type: ignore[method-assign]

    def _wrapped(self, database: Any) -> Any:
        steps = self

        class Watched:
            run = staticmethod(steps._around(database.run))
            insist = staticmethod(steps._around(database.insist))

        return Watched()

    def _around(self, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(*args: Any, **kwargs: Any) -> Any:
            await self._step()
            result = await work(*args, **kwargs)
            await self._step()
            return result

        return watched

    async def _step(self) -> None:
        self.taken += 1
        if self._last is not None and self.taken >= self._last:
            await self._die()


async def ask_until_death(collector: AnswerCollector, last: int | None, *asks: tuple[Any, str]) -> int | None:
    """Ask until the collector dies at step `last`; return how many steps it took, None when it died."""
    dead = asyncio.Event()

    async def die() -> None:
        dead.set()
        await asyncio.Event().wait()

    steps = Steps(collector, die, last)
    asking = asyncio.gather(*(collector.ask(batch_id, model) for batch_id, model in asks))
    dying = asyncio.create_task(dead.wait())
    await asyncio.wait([asking, dying], return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    if dead.is_set():
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return None
    await asking
    return steps.taken
