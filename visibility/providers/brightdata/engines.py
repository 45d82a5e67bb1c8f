"""The three engines, and the inputs that a job sends to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from visibility.domain import QuestionRun, RunFailure
from visibility.providers.prompt import prompt_for
from visibility.settings import BrightDataSettings


@dataclass(frozen=True, slots=True)
class Engine:
    """One dataset; `longest_prompt` in characters, None when the vendor names no limit."""

    provider: str
    dataset_id: str
    url: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    longest_prompt: int | None = None


@dataclass(frozen=True, slots=True)
class JobInput:
    """One question run in a job; `index` counts from 1 in the order of the question run ids.

    That order needs no column: whoever re-attaches to the job counts the same.
    """

    run: QuestionRun
    index: int
    prompt: str

    @property
    def run_id(self) -> UUID:
        return self.run.question_run_id

    @property
    def country(self) -> str:
        return self.run.location.country_code

    def body(self, engine: Engine) -> dict[str, Any]:
        """Return the input as it is sent; `question_run_id` comes back in the record's `input`.

        `replicate` is named from the second on, so that no two inputs of a job are the same request.
        """
        repeated = {"replicate": self.run.replicate} if self.run.replicate > 1 else {}
        return {
            "url": engine.url,
            "prompt": self.prompt,
            "country": self.country,
            "index": self.index,
            "question_run_id": str(self.run_id),
            **repeated,
            **engine.extra,
        }


def engines(settings: BrightDataSettings) -> dict[str, Engine]:
    """Return the engines by provider name."""
    known = (
        Engine("brightdata:chatgpt", settings.chatgpt_dataset_id, "https://chatgpt.com/", {"web_search": True}, 4096),
        Engine("brightdata:perplexity", settings.perplexity_dataset_id, "https://www.perplexity.ai"),
        Engine("brightdata:gemini", settings.gemini_dataset_id, "https://gemini.google.com/"),
    )
    return {engine.provider: engine for engine in known}


def inputs_of(runs: Iterable[QuestionRun]) -> tuple[JobInput, ...]:
    """Return the job inputs of question runs."""
    ordered = sorted(runs, key=lambda run: run.question_run_id)
    return tuple(
        JobInput(run, index, prompt_for(run.question_text, run.location)) for index, run in enumerate(ordered, start=1)
    )


def unaskable(engine: Engine, inputs: Sequence[JobInput], unsupported: Iterable[str]) -> list[RunFailure]:
    """Return why some inputs cannot be sent at all: the country, or the length of the prompt."""
    refused = frozenset(unsupported)
    failures = []
    for entry in inputs:
        if entry.country in refused:
            message = f"{engine.provider} does not answer from {entry.country}."
            failures.append(RunFailure(entry.run_id, "unsupported_country", message))
        elif engine.longest_prompt is not None and len(entry.prompt) > engine.longest_prompt:
            message = f"The prompt has {len(entry.prompt)} characters; {engine.longest_prompt} are allowed."
            failures.append(RunFailure(entry.run_id, "bad_input", message))
    return failures
