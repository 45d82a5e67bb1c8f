"""Reading answers while others are still on their way: the stream between asking and evaluating."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar
from uuid import UUID

from visibility.domain import EvaluationCounts

Result = TypeVar("Result")


class Arrivals:
    """Ids of question runs whose answers have been stored; ends when asking has ended."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[list[UUID] | None] = asyncio.Queue()

    def put(self, question_run_ids: Sequence[UUID]) -> None:
        """Announce stored answers."""
        self._queue.put_nowait(list(question_run_ids))

    async def closing(self, asking: Awaitable[Result]) -> Result:
        """Await `asking`; whatever its end, the stream ends with it."""
        try:
            return await asking
        finally:
            self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[list[UUID]]:
        while (group := await self._queue.get()) is not None:
            yield group
        self._queue.put_nowait(None)  # whoever iterates again, a retried task, meets the end and does not wait for it


Evaluate = Callable[[Sequence[UUID]], Awaitable[EvaluationCounts]]


async def evaluate_arrivals(
    first: Sequence[UUID],
    arrivals: Arrivals,
    evaluate: Evaluate,
    on_done: Callable[[EvaluationCounts], Awaitable[None]],
) -> EvaluationCounts:
    """Evaluate `first`, then every group as it arrives, groups side by side; return the sum.

    What is in `first` and arrives as well is evaluated once.
    The first error is raised after all groups have ended, so that finished work is stored.
    """

    async def one(group: Sequence[UUID]) -> EvaluationCounts:
        counts = await evaluate(group)
        await on_done(counts)
        return counts

    begun = frozenset(first)
    running = [asyncio.create_task(one(first))] if first else []
    try:
        async for group in arrivals:
            if group := [run_id for run_id in group if run_id not in begun]:
                running.append(asyncio.create_task(one(group)))
        return await total_of(running)
    finally:
        for unfinished in running:
            unfinished.cancel()


async def total_of(work: Iterable[Awaitable[EvaluationCounts]]) -> EvaluationCounts:
    """Await all work, side by side; return the sum, or raise the first error after all has ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return total([result for result in results if isinstance(result, EvaluationCounts)])


def total(counts: Sequence[EvaluationCounts]) -> EvaluationCounts:
    """Add counts up; no counts give zeros."""
    failed: dict[str, int] = {}
    for one in counts:
        for code, number in one.failed.items():
            failed[code] = failed.get(code, 0) + number
    return EvaluationCounts(
        evaluated=sum(one.evaluated for one in counts),
        mentioned=sum(one.mentioned for one in counts),
        competitors=sum(one.competitors for one in counts),
        citations=sum(one.citations for one in counts),
        failed=failed,
        llm_calls=sum(one.llm_calls for one in counts),
        cost_usd=sum((one.cost_usd for one in counts), start=EvaluationCounts(0, 0, 0, 0).cost_usd),
    )
