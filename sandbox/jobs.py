"""Bright Data jobs in memory: what was accepted, what will be delivered, when it is ready, what was sold."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.clock import Clock
from sandbox.faults import ERROR_CODES, RECORD, Faults, Strike

ENGINES = {
    "gd_m7aof0k82r803d5bjm": "chatgpt",
    "gd_m7dhdot1vw9a7gc1n": "perplexity",
    "gd_mbz66arm2mf9cu856y": "gemini",
}
TEXT_FAULTS = frozenset({"injected_instructions", "huge_answer", "odd_characters"})
FETCHES_NOT_READY = 2
# What `progress` says until a share of the time has passed.
STAGES = ((0.05, "starting"), (0.6, "running"), (0.75, "collecting"), (0.9, "digesting"), (1.0, "building"))


@dataclass(frozen=True)
class Slot:
    """One input of a job and what will become of it; `position` is its place in the submitted array, from 0."""

    position: int
    input: dict[str, Any]
    error_code: str | None = None
    empty: bool = False
    wrong_types: bool = False
    delivered: int = 1
    text_faults: frozenset[str] = frozenset()

    @property
    def sold(self) -> bool:
        return self.delivered > 0 and self.error_code is None

    @property
    def usable(self) -> bool:
        return self.sold and not self.empty and not self.wrong_types


@dataclass
class Job:
    """One snapshot; times are of the monotonic clock, but `created`."""

    snapshot_id: str
    dataset_id: str
    ordinal: int
    started: float
    seconds: float
    slots: list[Slot]
    faults: frozenset[str] = frozenset()
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    cancelled: bool = False
    fetches: int = 0
    refused_fetches: int = 0

    @property
    def engine(self) -> str:
        return ENGINES[self.dataset_id]

    def status(self, now: float) -> str:
        if self.cancelled:
            return "cancelled"
        passed = now - self.started
        if "job_never_ready" in self.faults:
            return "running"
        if passed >= self.seconds:
            return "failed" if "job_failed" in self.faults else "ready"
        return next(name for share, name in STAGES if passed < share * self.seconds or share == 1.0)

    def still_building(self) -> bool:
        """Tell whether a ready job's fetch answers 202 this time; counts the fetch."""
        self.fetches += 1
        if "not_ready_after_ready" not in self.faults or self.refused_fetches >= FETCHES_NOT_READY:
            return False
        self.refused_fetches += 1
        return True


class Jobs:
    """All jobs of the account; accepting is what costs money, so it happens in one place."""

    def __init__(self, seed: int, clock: Clock, faults: Faults) -> None:
        self._seed = seed
        self._clock = clock
        self._faults = faults
        self._submissions: list[float] = []
        self.by_id: dict[str, Job] = {}

    def running(self) -> int:
        now = self._clock.now()
        return sum(job.status(now) not in ("ready", "failed", "cancelled") for job in self.by_id.values())

    def submissions_in_last_minute(self) -> int:
        """Count accepted triggers within the last minute of sandbox time."""
        horizon = self._clock.now() - self._clock.real(60)
        self._submissions = [moment for moment in self._submissions if moment > horizon]
        return len(self._submissions)

    def accept(self, dataset_id: str, inputs: list[dict[str, Any]], strike: Strike) -> Job:
        """Take a job; everything about its records is decided here, by the seed."""
        ordinal = len(self.by_id) + 1
        rng = random.Random(f"{self._seed}|job|{ordinal}")
        slots = [self._slot(position, entry, strike) for position, entry in enumerate(inputs)]
        slots = _arranged(rng, slots, strike)
        snapshot_id = f"s_{secrets.token_hex(9)}"  # not by the seed: a restarted sandbox must not repeat an id
        now = self._clock.now()
        job = Job(snapshot_id, dataset_id, ordinal, now, self._clock.job_seconds(ordinal), slots, strike.names)
        self.by_id[snapshot_id] = job
        self._submissions.append(now)
        return job

    def _slot(self, position: int, entry: dict[str, Any], strike: Strike) -> Slot:
        names = set(self._faults.strike(RECORD).names)
        names |= {name for name, positions in strike.records.items() if position in positions}
        codes = [code for code in ERROR_CODES if code in names]
        return Slot(
            position,
            entry,
            error_code=codes[0] if codes else None,
            empty="empty_answer" in names,
            text_faults=frozenset(names) & TEXT_FAULTS,
        )


def _arranged(rng: random.Random, slots: list[Slot], strike: Strike) -> list[Slot]:
    """Apply the faults that concern the job's array as a whole."""
    if "empty_array" in strike:
        return [_with(slot, delivered=0) for slot in slots]
    if "missing_records" in strike:
        slots = _some(rng, slots, delivered=0)
    if "duplicate_records" in strike:
        slots = _some(rng, slots, delivered=2)
    if "wrong_types" in strike:
        slots = _some(rng, slots, wrong_types=True)
    if "reordered_records" in strike:
        slots = slots[::-1] if len(slots) < 3 else [*slots[1:], slots[0]]
    return slots


def _some(rng: random.Random, slots: list[Slot], **changes: Any) -> list[Slot]:
    """Change about a third of the slots, one at least."""
    chosen = set(rng.sample(range(len(slots)), max(1, len(slots) // 3)))
    return [_with(slot, **changes) if number in chosen else slot for number, slot in enumerate(slots)]


def _with(slot: Slot, **changes: Any) -> Slot:
    return Slot(**{**slot.__dict__, **changes})


def echo_id(entry: dict[str, Any]) -> str:
    """Return the client's own identifier in an input, "" when there is none."""
    return str(entry.get("question_run_id") or entry.get("custom_id") or entry.get("id") or "")
