"""What goes into a structured call and what is taken out of its completion."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ValidationError

from visibility.domain import LlmCall
from visibility.errors import UnusableReply
from visibility.llm.catalog import ModelPrice, TokenUse

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

Parsed = TypeVar("Parsed", bound=BaseModel)


@cache
def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the strict response format of a model that forbids extras and has no defaults."""
    definition = {"name": schema.__name__, "strict": True, "schema": without_prose(schema.model_json_schema())}
    return {"type": "json_schema", "json_schema": definition}


def without_prose(node: Any) -> Any:
    """Return a JSON Schema without titles and descriptions: they are paid for with every call, the prompt says more."""
    if isinstance(node, dict):
        prose = {key for key in ("title", "description") if isinstance(node.get(key), str)}
        return {key: without_prose(value) for key, value in node.items() if key not in prose}
    return [without_prose(entry) for entry in node] if isinstance(node, list) else node


def system_message(text: str, *, breakpoint_after: bool) -> dict[str, Any]:
    """Return the static part, marked as the part to cache where the model takes such marks."""
    if not breakpoint_after:
        return {"role": "system", "content": text}
    part = {"type": "text", "text": text, "prompt_cache_breakpoint": {"mode": "explicit"}}
    return {"role": "system", "content": [part]}


def billed_call(
    purpose: str,
    price: ModelPrice,
    completion: ChatCompletion,
    latency_seconds: float,
    call_id: UUID | None = None,
) -> LlmCall:
    """Return the record of a call that the vendor answered, whatever the answer is worth.

    A `call_id` makes records of the same call one.
    """
    use = _token_use(completion)
    return LlmCall(
        call_id=call_id or uuid4(),
        purpose=purpose,
        model=price.name,
        input_tokens=use.input,
        cached_tokens=use.cached,
        output_tokens=use.output,
        cost_usd=price.cost_usd(use),
        price_table=price.price_table,
        latency_ms=round(latency_seconds * 1000),
    )


def _token_use(completion: ChatCompletion) -> TokenUse:
    """Return the billed tokens; the SDK does not validate, so that any figure may be missing (0)."""
    usage = completion.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return TokenUse(
        input=getattr(usage, "prompt_tokens", None) or 0,
        cached=getattr(details, "cached_tokens", None) or 0,
        cache_writes=getattr(details, "cache_write_tokens", None) or 0,
        output=getattr(usage, "completion_tokens", None) or 0,
    )


def parsed_reply(completion: ChatCompletion, schema: type[Parsed], call: LlmCall) -> Parsed:
    """Return the reply as `schema`; raises UnusableReply for a refusal, a cut-off or a reply that breaks it."""
    choice = completion.choices[0] if completion.choices else None
    message = getattr(choice, "message", None)
    finish_reason = getattr(choice, "finish_reason", None)
    if getattr(message, "refusal", None) or finish_reason == "content_filter":
        raise UnusableReply("The LLM refused to read this text.", call=call, code="llm_refused")
    if finish_reason == "length":
        raise UnusableReply("The LLM's reply was cut off.", call=call, code="llm_truncated")
    try:
        return schema.model_validate_json(getattr(message, "content", None) or "")
    except ValidationError as error:
        problems = error.error_count()
        raise UnusableReply(f"The LLM's reply breaks the schema ({problems} problems).", call=call) from None
