"""What a piece of work used: CPU of this process (all threads) and time on the wall, in seconds."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """A moment, or the difference of two."""

    cpu_seconds: float
    wall_seconds: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name, to the tenth of a millisecond."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def usage_now() -> Usage:
    """Return the process's CPU so far and the clock."""
    return Usage(time.process_time(), time.perf_counter())


def spent_since(before: Usage) -> Usage:
    """Return what was used since."""
    now = usage_now()
    return Usage(now.cpu_seconds - before.cpu_seconds, now.wall_seconds - before.wall_seconds)
