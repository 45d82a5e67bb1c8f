"""One vendor job in memory, and how it ended for those who wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from visibility.domain import QuestionRun
from visibility.providers.brightdata.engines import Engine, JobInput, inputs_of
from visibility.store.runs import Pair, Stored

# returned   the vendor's records are stored (some may be failures)
# failed     the vendor accepted the job, but it will bring nothing
# postponed  never accepted, or left open at the vendor: not to be asked again in this pass
# released   never accepted, and its question runs may be asked at once
Ending = Literal["returned", "failed", "postponed", "released"]


@dataclass(slots=True)
class Job:
    """An open job; `deadline` by this process's monotonic clock, the moments in UTC."""

    job_id: UUID
    engine: Engine
    inputs: tuple[JobInput, ...]
    deadline: float
    submitted_from: datetime
    submitted_until: datetime | None = None  # None: it is being submitted by us
    snapshot_id: str | None = None
    ready: bool = False
    kept_ready: bool = False

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.deadline

    @property
    def runs(self) -> tuple[QuestionRun, ...]:
        return tuple(entry.run for entry in self.inputs)

    def keep(self, run_ids: Iterable[UUID]) -> None:
        """Reduce the job to some of its question runs; the others are counted anew."""
        kept = frozenset(run_ids)
        self.inputs = inputs_of(run for run in self.runs if run.question_run_id in kept)


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended; `answered` by batch and model, also when another process has stored the answers.

    `failed_by_engine`: the vendor did not take the job, failed it, or did not answer in time.
    """

    job_id: UUID
    ended: Ending
    runs: tuple[QuestionRun, ...]
    answered: Mapping[Pair, Sequence[UUID]] = field(default_factory=dict)
    failed_by_engine: bool = False


def answered_in(stored: Iterable[Stored]) -> dict[Pair, list[UUID]]:
    """Group the answered question runs by batch and model."""
    groups: dict[Pair, list[UUID]] = {}
    for one in stored:
        if one.status == "answered":
            groups.setdefault((one.batch_id, one.model), []).append(one.question_run_id)
    return groups
