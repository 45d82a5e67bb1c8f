"""What both OpenAI surfaces share: keys, models, the reading of a request, usage."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox.answers import WorldAnswer
from sandbox.faults import Strike
from sandbox.misfortune import llm_error
from sandbox.reader import Habits, Org, name_variations, read_answers
from sandbox.state import LlmUsage, State
from sandbox.structured import StrictSchema, broken
from sandbox.web import Request, Response

MODELS = ("gpt-6-luna", "gpt-6-sol", "gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini")
REASONING_PREFIXES = ("gpt-5", "gpt-6", "o1", "o3", "o4")
CHARACTERS_PER_TOKEN = 4
LEAST_CACHED_TOKENS = 1024  # OpenAI caches prefixes of at least this length, in steps of 128
CACHE_STEP = 128
WRITE_BILLED_PREFIX = "gpt-6"  # these models bill what they write into the cache
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass
class Prompt:
    """A request in the terms of both surfaces."""

    model: str
    system: str
    user: str
    schema: StrictSchema | None
    max_tokens: int | None


@dataclass
class Completion:
    """What the model says; `refusal` and `truncated` exclude each other."""

    text: str
    refusal: str | None = None
    truncated: bool = False
    answer: WorldAnswer | None = None


@dataclass(frozen=True)
class Tokens:
    """Counts of one call; cached and cache-writing ones are among the input's."""

    input: int
    cached: int
    cache_writes: int
    output: int


def unauthorised(request: Request) -> Response | None:
    """Return a 401 when neither a bearer key nor an `api-key` header is there, or the key is `bad`."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    key = request.headers.get("api-key") or (bearer if scheme.lower() == "bearer" else "")
    if key.strip() and key.strip() != "bad":
        return None
    return llm_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Response:
    return llm_error(400, message, "invalid_request_error", code, param=param)


def refused_parameters(body: dict[str, Any], model: str, *, azure: bool) -> Response | None:
    """Return the error that OpenAI gives for a model or parameter that does not exist or does not apply."""
    if not model:
        return bad_request("you must provide a model parameter", "model")
    if not azure and model not in MODELS:
        message = f"The model `{model}` does not exist or you do not have access to it."
        return llm_error(404, message, "invalid_request_error", "model_not_found", param="model")
    if body.get("stream"):
        return bad_request("The sandbox does not stream.", "stream", "unsupported_value")
    if azure:
        return None
    reasoning = model.startswith(REASONING_PREFIXES)
    if reasoning and body.get("temperature") not in (None, 1, 1.0):
        message = "Unsupported value: 'temperature' does not support this value with this model. Only 1 is supported."
        return bad_request(message, "temperature", "unsupported_value")
    if reasoning and body.get("max_tokens") is not None:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return bad_request(message, "max_tokens", "unsupported_parameter")
    if not reasoning and (body.get("reasoning_effort") or body.get("reasoning")):
        name = "reasoning_effort" if body.get("reasoning_effort") else "reasoning"
        return bad_request(
            f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported_parameter"
        )
    return None


def complete(state: State, prompt: Prompt, strike: Strike, *, country: str = "US") -> Completion:
    """Answer a prompt: by the reader when a schema was sent, as an assistant with a web search else."""
    if "llm_refusal" in strike:
        return Completion("", refusal=REFUSAL)
    if "llm_empty" in strike:
        return Completion("")
    answer = None
    if prompt.schema is None:
        answer = state.world.answer(prompt.user, "openai", country)
        text = answer.text
    else:
        value = _structured(prompt, prompt.schema, strike)
        if "llm_schema_violation" in strike:
            value = broken(value)
        text = orjson.dumps(value).decode()
    limit = prompt.max_tokens * CHARACTERS_PER_TOKEN if prompt.max_tokens else None
    if "llm_truncated" in strike or (limit is not None and len(text) > limit):
        return Completion(text[: min(limit or len(text), len(text) * 2 // 3)], truncated=True, answer=answer)
    return Completion(text, answer=answer)


def purpose_of(prompt: Prompt) -> str:
    """Return what the reader takes a request for.

    A reading is of brands and of an organisation's mention, or of one of both: reading, brands, mention. Else names,
    structured, or answer.
    """
    if prompt.schema is None:
        return "answer"
    names = prompt.schema.property_names
    if names & {"evaluation", "mention_blocks"}:
        return "reading" if "brands" in names else "mention"
    if "brands" in names:
        return "brands"
    return "names" if names & {"variations", "names", "name_variations"} else "structured"


def _structured(prompt: Prompt, schema: StrictSchema, strike: Strike) -> Any:
    purpose = purpose_of(prompt)
    request = _user_document(prompt.user)
    value: Any = None
    if purpose in ("reading", "brands", "mention"):
        habits = Habits("injected_instructions_followed" in strike, "hallucinated_passage" in strike)
        parts = {"brands": purpose != "mention", "evaluation": purpose != "brands"}
        value = {"answers": read_answers(request, habits, **parts)}
    elif purpose == "names":
        variations = name_variations(Org.of(request.get("organisation") or request.get("organization") or prompt.user))
        value = {key: variations for key in ("variations", "names", "name_variations") if key in schema.property_names}
    return value if value is not None and schema.fits(value) else _fitted(schema, value)


def _fitted(schema: StrictSchema, value: Any) -> Any:
    """Return an example of the schema, filled with what the reader found where names and types allow it.

    A schema for one answer alone gets the first answer's fields, or those of its evaluation.
    """
    example = schema.example()
    for source in _sources(value):
        for key in source.keys() & example.keys():
            tried = {**example, key: source[key]}
            example = tried if schema.fits(tried) else example
    return example


def _sources(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict):
        return []
    answers = value.get("answers") or []
    evaluations = [answer["evaluation"] for answer in answers[:1] if answer.get("evaluation")]
    return [value, *answers[:1], *evaluations]


def _user_document(user: str) -> dict[str, Any]:
    try:
        document = orjson.loads(user)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def bill(state: State, prompt: Prompt, completion: Completion, *, searches: int = 0, batched: bool = False) -> Tokens:
    """Count the call's tokens into the accounting and return them."""
    static = (prompt.system, prompt.schema.name if prompt.schema else "")
    schema_size = len(str(prompt.schema.schema)) if prompt.schema else 0
    prefix = (len(prompt.system) + schema_size) // CHARACTERS_PER_TOKEN
    total = max(1, prefix + len(prompt.user) // CHARACTERS_PER_TOKEN)
    cached = _cached(state, hash((prompt.model, *static)), prefix)
    writes = _cacheable(prefix) if not cached and prompt.model.startswith(WRITE_BILLED_PREFIX) else 0
    said = completion.refusal or completion.text
    tokens = Tokens(total, cached, writes, max(1, len(said) // CHARACTERS_PER_TOKEN))
    usage = state.usage.setdefault(prompt.model, LlmUsage())
    usage.calls += 1
    usage.batched_calls += batched
    usage.repeated_calls += _sold_before(state, hash((prompt.model, *static, prompt.user)))
    usage.searches += searches
    usage.input_tokens += tokens.input
    usage.cached_tokens += tokens.cached
    usage.output_tokens += tokens.output
    usage.purposes[purpose_of(prompt)] += 1
    return tokens


def _sold_before(state: State, key: int) -> bool:
    """Tell whether this very prompt has been answered before, and remember it."""
    known = key in state.prompts_sold
    state.prompts_sold.add(key)
    return known


def _cached(state: State, key: int, prefix: int) -> int:
    """Return the tokens of the prefix that an earlier call left in the cache, and leave it there."""
    known = key in state.prompt_prefixes
    state.prompt_prefixes.add(key)
    return _cacheable(prefix) if known else 0


def _cacheable(prefix: int) -> int:
    return prefix // CACHE_STEP * CACHE_STEP if prefix >= LEAST_CACHED_TOKENS else 0


def identifier(state: State, prefix: str) -> str:
    """Return an id in OpenAI's form, new for every call."""
    calls = sum(state.calls.values())
    return f"{prefix}{random.Random(f'{state.options.seed}|{prefix}|{calls}').getrandbits(96):024x}"
