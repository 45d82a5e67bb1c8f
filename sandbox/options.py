"""What a sandbox is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Options:
    """All options; times in seconds of the sandbox's own clock, which runs `time_scale` times as fast as ours.

    `hold_seconds` and `slow_seconds` are real seconds. `None` for a limit means none. `llm_seconds` are the least and
    the most of a completion, all between equally likely; without them most take 1.5 s and a few up to 5 s.
    `mentions_per_answer`: how many members of a network each answer to its questions mentions; `None`: as it comes.
    """

    seed: int = 7
    time_scale: float = 1.0
    latency: bool = True
    llm_seconds: tuple[float, float] | None = None
    max_running_jobs: int | None = None
    submissions_per_minute: float | None = None
    hold_seconds: float = 600.0
    slow_seconds: float = 2.0
    examples: bool = True
    mentions_per_answer: int | None = None
    faults: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.time_scale <= 0:
            raise ValueError("--time-scale must be greater than 0.")
        if self.llm_seconds is not None and not 0 <= self.llm_seconds[0] <= self.llm_seconds[1]:
            raise ValueError("--llm-seconds takes LEAST:MOST, such as 2:5.")
        for name in ("max_running_jobs", "submissions_per_minute"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be greater than 0.")
        if self.mentions_per_answer is not None and self.mentions_per_answer < 0:
            raise ValueError("--mentions-per-answer must not be negative.")
