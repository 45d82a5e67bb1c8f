"""The faults that the sandbox can show, by seeded probability or by script."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TRIGGER, PROGRESS, SNAPSHOT, LIST, CANCEL = "trigger", "progress", "snapshot", "snapshots", "cancel"
CHAT, RESPONSES, SLACK, RECORD = "chat", "responses", "slack", "record"
FILES, BATCHES, BATCH = "files", "batches", "batch"
BRIGHT_DATA = (TRIGGER, PROGRESS, SNAPSHOT, LIST, CANCEL)
LLM = (CHAT, RESPONSES)
OPENAI = (*LLM, FILES, BATCHES, BATCH)
EVERYWHERE = (*BRIGHT_DATA, *OPENAI, SLACK)
BUYING = (TRIGGER, *LLM, BATCHES)
SURFACES = (*EVERYWHERE, RECORD)


@dataclass(frozen=True)
class Fault:
    """One way to go wrong: the surfaces on which its probability is drawn, and what the client sees."""

    name: str
    surfaces: tuple[str, ...]
    sentence: str


_CATALOGUE = (
    Fault("rate_limited", EVERYWHERE, "429 with Retry-After; nothing was accepted."),
    Fault("rate_limited_no_retry_after", EVERYWHERE, "429 without Retry-After; nothing was accepted."),
    Fault("server_error", EVERYWHERE, "500, 502 or 503; nothing was accepted."),
    Fault("server_error_after_accept", BUYING, "502 although the job was accepted, or the completion billed."),
    Fault("connection_reset", EVERYWHERE, "The connection is reset before anything was accepted."),
    Fault("reset_after_accept", BUYING, "The connection is reset after the job was accepted or the tokens spent."),
    Fault("timeout", EVERYWHERE, "Nothing is accepted and no byte is answered until the client gives up."),
    Fault("timeout_after_accept", BUYING, "The job is accepted or the tokens spent, and no byte is answered."),
    Fault("slow_body", EVERYWHERE, "The whole response arrives in ten pieces over --slow-seconds."),
    Fault("truncated_json", EVERYWHERE, "The response's JSON is cut off in the middle; the work was done."),
    Fault("not_ready_after_ready", (TRIGGER,), "The first two fetches after `ready` answer 202 building."),
    Fault("job_failed", (TRIGGER,), "The job is accepted and ends as `failed`; nothing is sold."),
    Fault("job_never_ready", (TRIGGER,), "The job stays `running` until it is cancelled."),
    Fault("empty_snapshot_id", (TRIGGER,), "The job is refused by a 200 with an empty snapshot_id."),
    Fault("empty_array", (TRIGGER,), "The job gets ready with no records at all; nothing is sold."),
    Fault("missing_records", (TRIGGER,), "About a third of the job's records, one at least, are not delivered."),
    Fault("duplicate_records", (TRIGGER,), "Some of the job's records, one at least, are delivered twice."),
    Fault("reordered_records", (TRIGGER,), "The job's records come in another order than its inputs."),
    Fault("out_of_range_records", (TRIGGER,), "One index is out of range, and a record nobody asked for is added."),
    Fault("wrong_types", (TRIGGER,), "Some of the job's records, one at least, have fields of wrong types."),
    Fault("refused_country", (TRIGGER,), "400 validation_error that names one of the job's countries."),
    Fault("quota_gone", BUYING, "Bright Data: 403, account suspended. OpenAI: 429 insufficient_quota."),
    Fault("dead_page", (RECORD,), "The record is an error record of code dead_page."),
    Fault("bad_input", (RECORD,), "The record is an error record of code bad_input."),
    Fault("blocked", (RECORD,), "The record is an error record of code blocked."),
    Fault("crawl_error", (RECORD,), "The record is an error record of code crawl_error."),
    Fault("parse_error", (RECORD,), "The record is an error record of code parse_error."),
    Fault("no_peers", (RECORD,), "The record is an error record of code no_peers."),
    Fault("empty_answer", (RECORD,), "The record is sold, but its answer is empty or blank."),
    Fault("injected_instructions", (RECORD,), "The answer contains instructions to whoever reads it."),
    Fault("huge_answer", (RECORD,), "The answer is more than 100 kB long."),
    Fault("odd_characters", (RECORD,), "The answer contains NUL, lone surrogates and direction marks."),
    Fault("llm_refusal", LLM, "The completion is a refusal."),
    Fault("llm_truncated", LLM, "The completion stops in the middle: finish_reason length, or incomplete."),
    Fault("llm_schema_violation", LLM, "The completion is JSON that breaks the sent schema."),
    Fault("llm_empty", LLM, "The completion has no content at all."),
    Fault("hallucinated_passage", LLM, "Block numbers out of range or not about the organisation; brands not named."),
    Fault("injected_instructions_followed", LLM, "The reader obeys instructions that stand in an answer."),
    Fault("batch_failed", (BATCHES,), "The batch is accepted and fails its validation; nothing is sold."),
    Fault("batch_expired", (BATCHES,), "The batch expires at half of its lines; the others are not sold."),
    Fault("batch_never_done", (BATCHES,), "The batch stays `in_progress` until it is cancelled or its window ends."),
    Fault("batch_lines_missing", (BATCHES,), "A third of the batch's lines, one at least, are in neither file."),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _CATALOGUE}
ERROR_CODES = ("dead_page", "bad_input", "blocked", "crawl_error", "parse_error", "no_peers")


class UnknownFault(ValueError):
    """The name, surface or probability is not one that the sandbox knows."""


@dataclass
class ScriptStep:
    """Strike the nth call (from 1, counted from when the script was set) on a surface; `times` calls in a row."""

    on: str
    nth: int
    fault: str
    times: int = 1
    records: tuple[int, ...] | None = None

    def strikes(self, surface: str, ordinal: int) -> bool:
        here = self.on == surface or (self.on == "llm" and surface in LLM)
        return here and self.nth <= ordinal < self.nth + self.times


@dataclass
class Strike:
    """The faults of one call; `records` holds record faults that a script put on positions of the job."""

    names: frozenset[str] = frozenset()
    records: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.names


NO_STRIKE = Strike()


class Faults:
    """Decides which calls go wrong; the same seed and the same order of calls give the same faults."""

    def __init__(self, seed: int, probabilities: Mapping[str, float] | None = None) -> None:
        self.struck: Counter[str] = Counter()
        self.configure(seed, probabilities or {}, ())

    def configure(
        self, seed: int, probabilities: Mapping[str, float], script: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Replace everything and count calls from the start. Raises UnknownFault and changes nothing then."""
        checked = {name: _probability(name, value) for name, value in probabilities.items()}
        steps = [_step(entry) for entry in script]
        self.seed = seed
        self.probabilities = {name: value for name, value in checked.items() if value > 0}
        self.script = steps
        self._calls: Counter[str] = Counter()

    def strike(self, surface: str) -> Strike:
        """Count a call on the surface and return the faults that it gets."""
        if not self.script and not self.probabilities:
            return NO_STRIKE
        self._calls[surface] += 1
        ordinal = self._calls[surface]
        names = {
            name
            for name in self.probabilities
            if surface in FAULTS[name].surfaces and self._drawn(name, surface, ordinal)
        }
        records: dict[str, tuple[int, ...]] = {}
        for step in self._steps(surface, ordinal):
            if RECORD in FAULTS[step.fault].surfaces and surface != RECORD:
                records[step.fault] = step.records or (0,)
            else:
                names.add(step.fault)
        self.struck.update(names)
        return Strike(frozenset(names), records)

    def _steps(self, surface: str, ordinal: int) -> list[ScriptStep]:
        if surface not in LLM:
            return [step for step in self.script if step.strikes(surface, ordinal)]
        both = self._calls[CHAT] + self._calls[RESPONSES]
        return [step for step in self.script if step.strikes(surface, both if step.on == "llm" else ordinal)]

    def _drawn(self, name: str, surface: str, ordinal: int) -> bool:
        draw = random.Random(f"{self.seed}|{name}|{surface}|{ordinal}").random()
        return draw < self.probabilities[name]


def _probability(name: str, value: Any) -> float:
    if name not in FAULTS:
        raise UnknownFault(f"There is no fault {name!r}; GET /_faults lists them.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UnknownFault(f"The probability of {name} must be a number from 0 to 1, not {value!r}.")
    return float(value)


def _step(entry: Mapping[str, Any]) -> ScriptStep:
    try:
        records = entry.get("records")
        step = ScriptStep(
            on=str(entry["on"]),
            nth=int(entry.get("nth", 1)),
            fault=str(entry["fault"]),
            times=int(entry.get("times", 1)),
            records=tuple(int(position) for position in records) if records is not None else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownFault(f"A script step needs on, nth and fault: {entry!r}.") from error
    if step.fault not in FAULTS:
        raise UnknownFault(f"There is no fault {step.fault!r}; GET /_faults lists them.")
    if step.on not in (*SURFACES, "llm"):
        raise UnknownFault(f"There is no surface {step.on!r}; there are {', '.join(SURFACES)} and llm.")
    return step
