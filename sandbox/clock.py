"""Time in the sandbox: seeded latencies, divided by the time scale."""

from __future__ import annotations

import asyncio
import math
import random
import time

from sandbox.options import Options

JOB_MEDIAN_SECONDS, JOB_LEAST_SECONDS, JOB_MOST_SECONDS = 60.0, 15.0, 600.0
BATCH_MEDIAN_SECONDS, BATCH_LEAST_SECONDS, BATCH_MOST_SECONDS = 600.0, 120.0, 20_000.0
LLM_MEDIAN_SECONDS, LLM_LEAST_SECONDS, LLM_MOST_SECONDS = 1.5, 0.5, 5.0
SPREAD = 0.8  # sigma of the lognormal distributions
RETRY_AFTER_SECONDS = 2.0


class Clock:
    """Draws how long things take; real seconds come out, those of LLM calls are kept for the accounting."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._llm_calls = 0
        self.llm_seconds: list[float] = []

    def now(self) -> float:
        return time.monotonic()

    def real(self, seconds: float) -> float:
        """Return how many real seconds the given seconds of sandbox time last."""
        return seconds / self._options.time_scale

    def job_seconds(self, ordinal: int) -> float:
        """Return the real seconds that the nth vendor job takes; 0 without latency."""
        return self._draw(f"job|{ordinal}", JOB_MEDIAN_SECONDS, JOB_LEAST_SECONDS, JOB_MOST_SECONDS)

    def batch_seconds(self, ordinal: int) -> float:
        """Return the real seconds that the nth batch of LLM requests takes; 0 without latency."""
        return self._draw(f"batch|{ordinal}", BATCH_MEDIAN_SECONDS, BATCH_LEAST_SECONDS, BATCH_MOST_SECONDS)

    async def wait_for_llm(self) -> None:
        """Sleep as long as the next LLM call takes."""
        if not self._options.latency:
            return
        self._llm_calls += 1
        seconds = self._llm_draw(f"llm|{self._llm_calls}")
        self.llm_seconds.append(seconds)
        await asyncio.sleep(seconds)

    def _llm_draw(self, key: str) -> float:
        if self._options.llm_seconds is None:
            return self._draw(key, LLM_MEDIAN_SECONDS, LLM_LEAST_SECONDS, LLM_MOST_SECONDS)
        return self.real(random.Random(f"{self._options.seed}|latency|{key}").uniform(*self._options.llm_seconds))

    def retry_after(self) -> tuple[int, int]:
        """Return how long a throttled client should wait, as whole seconds (1 or more) and as milliseconds."""
        seconds = self.real(RETRY_AFTER_SECONDS)
        return max(1, math.ceil(seconds)), max(1, math.ceil(seconds * 1000))

    def _draw(self, key: str, median: float, least: float, most: float) -> float:
        if not self._options.latency:
            return 0.0
        rng = random.Random(f"{self._options.seed}|latency|{key}")
        return self.real(min(most, max(least, rng.lognormvariate(math.log(median), SPREAD))))
