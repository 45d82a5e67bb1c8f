"""Everything that one running sandbox remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.answers import WorldOrg
from sandbox.batch_jobs import BatchJobs
from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.jobs import Jobs
from sandbox.options import Options
from sandbox.web import Response, json_response
from sandbox.world import World, example_orgs


@dataclass
class LlmUsage:
    """Billed completions of one model; `purposes` counts them by what the reader took them for.

    `batched_calls` were sold by the Batch API, `repeated_calls` for a prompt that had been answered before.
    """

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    searches: int = 0
    batched_calls: int = 0
    repeated_calls: int = 0
    purposes: Counter[str] = field(default_factory=Counter)


class State:
    """One account at every vendor, and the world behind them."""

    def __init__(self, options: Options, orgs: Sequence[WorldOrg] = ()) -> None:
        self.options = options
        self.clock = Clock(options)
        self.faults = Faults(options.seed, options.faults)
        known = [*(example_orgs() if options.examples else ()), *orgs]
        self.world = World(options.seed, known, mentions_per_answer=options.mentions_per_answer)
        self.jobs = Jobs(options.seed, self.clock, self.faults)
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.usage: dict[str, LlmUsage] = {}
        self.prompt_prefixes: set[int] = set()
        self.prompts_sold: set[int] = set()
        self.batches = BatchJobs(options.seed, self.clock, self.faults)
        self.slack: list[dict[str, Any]] = []

    def reset_counts(self) -> None:
        """Forget jobs, usage and messages, as if just started; world, faults and limits stay."""
        self.jobs = Jobs(self.options.seed, self.clock, self.faults)
        self.calls.clear()
        self.throttled.clear()
        self.faults.struck.clear()
        self.usage.clear()
        self.clock.llm_seconds.clear()
        self.prompt_prefixes.clear()
        self.prompts_sold.clear()
        self.batches = BatchJobs(self.options.seed, self.clock, self.faults)
        self.slack.clear()

    def too_many(self, reason: str, *, retry_after: bool = True) -> Response:
        """Return Bright Data's 429 and count it."""
        self.throttled["brightdata"] += 1
        seconds, _ = self.clock.retry_after()
        return json_response({"error": reason}, 429, {"Retry-After": str(seconds)} if retry_after else {})
