"""Which provider is asked for a model."""

from __future__ import annotations

from typing import Literal

ProviderName = Literal[
    "brightdata:chatgpt", "brightdata:perplexity", "brightdata:gemini", "linkup", "anthropic", "openai"
]

# The first word that stands in the lower-cased model name decides: `chatgpt` before `gpt`.
_ROUTES: tuple[tuple[str, ProviderName], ...] = (
    ("chatgpt", "brightdata:chatgpt"),
    ("perplexity", "brightdata:perplexity"),
    ("gemini", "brightdata:gemini"),
    ("linkup", "linkup"),
    ("claude", "anthropic"),
    ("sonnet", "anthropic"),
    ("opus", "anthropic"),
    ("haiku", "anthropic"),
    ("gpt", "openai"),
)


def provider_of(model: str) -> ProviderName | None:
    """Return who reaches the model (`openai` stands for Azure OpenAI too); None when nobody does."""
    name = model.lower()
    return next((provider for word, provider in _ROUTES if word in name), None)
