"""What an answer will probably cost to read, for quotes made before it is bought."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from visibility.llm.catalog import TokenUse, known_model
from visibility.settings import LlmSettings

# `make bench` (P8) counts 1,097 tokens in and 66 out as the mean of the 60-answer example; rounded up, because real
# answers are longer than the sandbox's and reasoning is billed as output: a quote too low is the product's loss.
USUAL_READING = TokenUse(input=1200, cached=0, cache_writes=0, output=100)


def expected_reading_cost(settings: LlmSettings) -> Decimal:
    """Return the expected cost of one answer's evaluation, USD; 0 where the rule alone evaluates."""
    return usual_reading_cost(settings) if settings.configured else Decimal(0)


def usual_reading_cost(settings: LlmSettings) -> Decimal:
    """Return what one answer's evaluation costs with the model of the settings, USD, also where no key is set."""
    return known_model(settings.evaluation_model, datetime.now(UTC).date()).cost_usd(USUAL_READING)
