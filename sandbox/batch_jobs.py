"""Files and batches of LLM requests in memory: what was uploaded, what is under way, what each file will hold."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sandbox.clock import Clock
from sandbox.faults import Faults, Strike

WINDOW_SECONDS = 86_400.0
# What `status` says until a share of the time has passed.
STAGES = ((0.05, "validating"), (0.9, "in_progress"), (1.0, "finalizing"))
OVER = ("failed", "completed", "expired", "cancelled")


@dataclass
class StoredFile:
    """One file of the account."""

    file_id: str
    name: str
    purpose: str
    content: bytes
    created_at: int = field(default_factory=lambda: int(time.time()))


@dataclass
class BatchJob:
    """One batch; `started` and `seconds` are of the monotonic clock, `lines` are the input's, parsed.

    `answered` is how many lines, from the first one, were or will be answered before the end.
    """

    batch_id: str
    input_file_id: str
    endpoint: str
    metadata: dict[str, str]
    lines: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    started: float
    seconds: float
    window: float
    faults: frozenset[str]
    created_at: int = field(default_factory=lambda: int(time.time()))
    cancelled_after: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    settled: bool = False
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def status(self, now: float) -> str:
        passed = now - self.started
        if self.cancelled_after is not None:
            return "cancelled"
        if (self.problems or "batch_failed" in self.faults) and passed >= STAGES[0][0] * self.seconds:
            return "failed"
        if passed >= self.window:
            return "expired"
        if "batch_never_done" in self.faults:
            return "in_progress"
        if passed >= self.seconds:
            return "expired" if "batch_expired" in self.faults else "completed"
        return next(name for share, name in STAGES if passed < share * self.seconds or share == 1.0)

    def answered(self, status: str) -> int:
        """Return how many lines were answered when the batch ended like this."""
        if status == "completed":
            return len(self.lines)
        if status == "expired":
            return len(self.lines) // 2 if "batch_expired" in self.faults else 0
        if status != "cancelled" or not self.seconds or "batch_never_done" in self.faults:
            return 0
        return int(len(self.lines) * min(1.0, (self.cancelled_after or 0.0) / self.seconds))


class BatchJobs:
    """The account's files and batches."""

    def __init__(self, seed: int, clock: Clock, faults: Faults) -> None:
        self._seed, self._clock, self._faults = seed, clock, faults
        self.files: dict[str, StoredFile] = {}
        self.by_id: dict[str, BatchJob] = {}

    def store(self, name: str, purpose: str, content: bytes) -> StoredFile:
        """Keep a file."""
        stored = StoredFile(self._identifier("file-", len(self.files)), name, purpose, content)
        self.files[stored.file_id] = stored
        return stored

    def accept(
        self,
        file: StoredFile,
        endpoint: str,
        metadata: dict[str, str],
        lines: list[dict[str, Any]],
        problems: list[dict[str, Any]],
        strike: Strike,
    ) -> BatchJob:
        """Start a batch; one with problems fails when it is validated."""
        ordinal = len(self.by_id) + 1
        job = BatchJob(
            batch_id=self._identifier("batch_", ordinal),
            input_file_id=file.file_id,
            endpoint=endpoint,
            metadata=metadata,
            lines=lines,
            problems=problems,
            started=self._clock.now(),
            seconds=self._clock.batch_seconds(ordinal),
            window=self._clock.real(WINDOW_SECONDS),
            faults=strike.names,
        )
        self.by_id[job.batch_id] = job
        return job

    def _identifier(self, prefix: str, number: int) -> str:
        return f"{prefix}{Random(f'{self._seed}|{prefix}|{number}').getrandbits(96):024x}"
