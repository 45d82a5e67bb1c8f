"""Name variations: the deterministic core, and what an LLM adds to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from visibility.brands import site_hosts
from visibility.domain import LlmCall, name_key
from visibility.llm.client import LlmClient
from visibility.llm.prompts import load_prompt
from visibility.names_core import clean_variations, core_variations

MAX_VARIATIONS = 25


class NameVariations(BaseModel):
    """The reply: names, most usual first."""

    model_config = ConfigDict(extra="forbid")

    variations: list[str]


async def name_variations(client: LlmClient, name: str, websites: Sequence[str]) -> tuple[list[str], LlmCall]:
    """Return the core's names and at most 25 of the LLM's, the exact name first, with the call.

    Raises what `LlmClient.parse` raises; the caller then goes on with `core_variations` and caches nothing.
    """
    prompt = load_prompt("names")
    organisation = {"name": name, "domains": list(site_hosts(websites))}
    reply, call = await client.parse(
        "names",
        client.settings.names_model,
        prompt.text,
        json.dumps({"organisation": organisation}, ensure_ascii=False),
        NameVariations,
        cache_key=f"names-{prompt.digest}",
    )
    added = clean_variations(reply.variations, name)[:MAX_VARIATIONS]
    return _distinct([name, *core_variations(name, list(websites)), *added]), call


def org_key(name: str, websites: Sequence[str], llm: str = "") -> str:
    """Return the cache key: another name, website, prompt or `llm` (who was asked for the names) is another key."""
    prompt = load_prompt("names")
    parts = [name.strip(), *sorted(website.strip() for website in websites), str(prompt.version), prompt.digest, llm]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _distinct(names: Sequence[str]) -> list[str]:
    """Drop repetitions, but keep spaced and unspaced forms apart: they match different texts."""
    kept: dict[str, str] = {}
    for name in names:
        if name_key(name):
            kept.setdefault(" ".join(name.casefold().split()), name)
    return list(kept.values())
