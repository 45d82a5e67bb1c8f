"""Which prompts, schemas, models and code have read an answer: one version for evaluations, one for brands."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from visibility.calls import BRANDS, MENTION, READING, CallKind
from visibility.llm.prompts import load_prompt
from visibility.llm.replies import response_format
from visibility.settings import LlmSettings

CODE_VERSION = 1
"""Raised by hand when blocks, names, guards, rank or share of voice are computed differently."""

BRANDS_CODE_VERSION = 1
"""Raised by hand when `find_brands` finds others in the same text; raises the version of evaluations too."""


def extractor_version(settings: LlmSettings | None) -> str:
    """Return what produces evaluations, jointly or apart from brands; without an LLM the rule alone."""
    if settings is None or not settings.configured:
        return f"{CODE_VERSION}-rule-only"
    return _version_with(settings)


def intended_version(settings: LlmSettings) -> str:
    """Return the extractor version of a run with these settings, also where its key is not set here."""
    return extractor_version(settings) if settings.rule_only_fallback else _version_with(settings)


def _version_with(settings: LlmSettings) -> str:
    digest = _digest(_asked(READING), _asked(MENTION), brands_version(settings))
    models = "+".join(dict.fromkeys((settings.evaluation_model, settings.brands_model)))
    return f"{CODE_VERSION}.{load_prompt(READING.prompt).version}-{digest}-{models}"


def brands_version(settings: LlmSettings) -> str:
    """Return what produces the brands of answers that orgs share."""
    version = f"{BRANDS_CODE_VERSION}.{load_prompt(BRANDS.prompt).version}"
    return f"{version}-{_digest(_asked(BRANDS))}-{settings.brands_model}"


def _asked(kind: CallKind[Any]) -> str:
    return load_prompt(kind.prompt).text + json.dumps(response_format(kind.schema), sort_keys=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]
