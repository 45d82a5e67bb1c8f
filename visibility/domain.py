"""The values that travel between the parts of the product. Frozen, plain, picklable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from visibility.errors import InvalidInput

Sentiment = Literal["positive", "neutral", "negative"]
CitationType = Literal["primary", "secondary"]
CitationSource = Literal["vendor", "text"]
PayerType = Literal["ORG", "PARTNER"]
Scope = Literal["org", "network"]
Spawn = Literal["subflow", "deployment"]
"""Where a flow has other flows run: inside itself, or as runs of their deployment on a work pool."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a question is asked from; `country_code` is upper-case ISO 3166-1 alpha-2."""

    country_code: str
    region_name: str | None = None
    city: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question of an org or of a network, as the customer wrote it."""

    question_id: UUID
    text: str


@dataclass(frozen=True, slots=True)
class Org:
    """One organisation with everything its evaluation needs."""

    org_id: UUID
    partner_id: UUID
    network_id: UUID | None
    name: str
    is_free_tier: bool
    spend_limit: Decimal | None
    websites: tuple[str, ...]
    models: tuple[str, ...]
    locations: tuple[Location, ...]
    questions: tuple[Question, ...]
    network_joined_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One org of a network."""

    org_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network with what is asked for all of its members."""

    network_id: UUID
    partner_id: UUID
    name: str
    models: tuple[str, ...]
    locations: tuple[Location, ...]
    questions: tuple[Question, ...]
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MissingBatch:
    """What one org still lacks of one batch of its network.

    `run_ids` are answered and not evaluated for the org; `uncharged` counts what is evaluated and not charged.
    """

    batch_id: UUID
    run_date: date
    run_ids: tuple[UUID, ...]
    uncharged: int


@dataclass(frozen=True, slots=True)
class QuestionRun:
    """One question × model × location × replicate of a batch, as a provider needs it."""

    question_run_id: UUID
    batch_id: UUID
    question_text: str
    model: str
    location: Location
    attempts: int = 0
    replicate: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider returned for one question run; `cost_usd` in USD."""

    question_run_id: UUID
    response_text: str
    cost_usd: Decimal
    answered_by: str | None = None
    grounded: bool | None = None
    provider_sources: dict[str, Any] | None = None
    applied_country: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why one question run has no answer; the text never reaches the answer column."""

    question_run_id: UUID
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Character offsets into the stored answer text; `end` is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Citation:
    """A source URL of an answer in canonical form; `position` counts from 1 in order of appearance."""

    url: str
    domain: str
    type: CitationType
    position: int
    source: CitationSource


@dataclass(frozen=True, slots=True)
class Brand:
    """A brand found in an answer as whole words; `first_offset` in characters."""

    name: str
    name_key: str
    first_offset: int
    occurrences: int


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answered question run as the extraction reads it; `brands` where a reading has stored them already."""

    question_run_id: UUID
    question_text: str
    response_text: str
    provider_sources: dict[str, Any] | None
    model: str
    brands: tuple[Brand, ...] | None = None


@dataclass(frozen=True, slots=True)
class OrgProfile:
    """Whom an answer is read for: the org, its name variations (the exact name first), its websites."""

    org_id: UUID
    name: str
    names: tuple[str, ...]
    websites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found in one answer for one org (one row of org_evals with its children)."""

    question_run_id: UUID
    org_id: UUID
    extractor_version: str
    mentioned: bool
    reason: str
    sentiment: Sentiment | None
    spans: tuple[Span, ...]
    mention_text: str | None
    mention_rank: int | None
    share_of_voice: float
    citation: bool
    citations: tuple[Citation, ...]
    brands: tuple[Brand, ...]
    competitors: tuple[str, ...]
    ungrounded: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class LlmCall:
    """One extraction call, recorded exactly once (one row of llm_calls)."""

    call_id: UUID
    purpose: str
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: Decimal
    price_table: str
    latency_ms: int
    batch_id: UUID | None = None
    org_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AskSummary:
    """What asking one model of a batch came to; failures are counted by error code."""

    model: str
    expected: int
    answered: int
    failed: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class EvaluationCounts:
    """What evaluating some answers of a batch came to; failures by error code."""

    evaluated: int
    mentioned: int
    competitors: int
    citations: int
    failed: dict[str, int] = field(default_factory=dict)
    llm_calls: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What makes a batch unique: scope, owner and UTC date."""

    scope: Scope
    owner_id: UUID
    run_date: date


def check_run_date(run_date: date, today: date) -> date:
    """Return the date of a batch; raises InvalidInput for one that nobody can mean, a year ahead."""
    if (run_date - today).days > 366:
        raise InvalidInput(f"The run date {run_date} is more than a year ahead of today, {today}.")
    return run_date


def name_key(name: str) -> str:
    """Return the form under which two spellings of a name are one: case-folded, letters and digits only."""
    import unicodedata

    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


def expected_runs(asker: Org | Network, replicates: int = 1) -> Sequence[tuple[Question, str, Location, int]]:
    """Return the manifest of an org or network: every question × model × location × replicate (from 1).

    For a network without members nothing is asked: nobody would read or pay for the answers.
    """
    if isinstance(asker, Network) and not asker.members:
        return []
    return [
        (question, model, location, replicate)
        for question in asker.questions
        for model in asker.models
        for location in asker.locations
        for replicate in range(1, replicates + 1)
    ]
