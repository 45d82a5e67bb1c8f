"""Which inputs a refused submission is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from visibility.domain import RunFailure
from visibility.providers.brightdata.engines import JobInput

Problem = tuple[str, str]

_POSITION = re.compile(r"\d+")
_COUNTRY = re.compile(r"\b[A-Z]{2}\b")


def refused_inputs(inputs: Sequence[JobInput], problems: Sequence[Problem]) -> list[RunFailure]:
    """Return a failure for every input that a problem (field, reason) names; none when they name nobody.

    An input is named by its position in the field (`3.prompt`, `input[3].country`, from 0), by its country
    in the reason, or by a prompt that stands in the reason. A single input is always the one meant.
    """
    failures: dict[object, RunFailure] = {}
    for field, reason in problems:
        is_country = "country" in field.lower() or "country" in reason.lower()
        code = "unsupported_country" if is_country else "bad_input"
        for entry in _named(inputs, field, reason, is_country=is_country):
            failures[entry.run_id] = RunFailure(entry.run_id, code, f"{field}: {reason}"[:300])
    if not failures and len(inputs) == 1:
        return [RunFailure(inputs[0].run_id, "bad_input", "The vendor refused the input.")]
    return list(failures.values())


def _named(inputs: Sequence[JobInput], field: str, reason: str, *, is_country: bool) -> Sequence[JobInput]:
    if len(inputs) == 1:
        return inputs
    if position := _POSITION.search(field):
        number = int(position.group())
        return inputs[number : number + 1]
    if is_country:
        codes = set(_COUNTRY.findall(reason))
        return [entry for entry in inputs if entry.country in codes]
    return [entry for entry in inputs if entry.prompt in reason]
