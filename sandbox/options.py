"""What a sandbox is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Options:
    """All options; times in seconds of the sandbox's own clock, which runs `time_scale` times as fast as ours.

    `hold_seconds` and `slow_seconds` are real seconds. `None` for a limit means none.
    """

    seed: int = 7
    time_scale: float = 1.0
    latency: bool = True
    max_running_jobs: int | None = None
    submissions_per_minute: float | None = None
    hold_seconds: float = 600.0
    slow_seconds: float = 2.0
    examples: bool = True
    faults: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.time_scale <= 0:
            raise ValueError("--time-scale must be greater than 0.")
        for name in ("max_running_jobs", "submissions_per_minute"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be greater than 0.")
