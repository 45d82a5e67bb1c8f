"""OpenAI's and Azure's Chat Completions."""

from __future__ import annotations

import time
from typing import Any

from sandbox.faults import CHAT, Strike
from sandbox.llm import (
    Completion,
    Prompt,
    Tokens,
    bad_request,
    bill,
    complete,
    identifier,
    refused_parameters,
    unauthorised,
)
from sandbox.misfortune import guarded
from sandbox.state import State
from sandbox.structured import SchemaRefused, StrictSchema, check_schema
from sandbox.web import Request, Response, Router, json_response


class ChatCompletions:
    """`/v1/chat/completions`, `/openai/v1/…` and `/openai/deployments/{deployment}/…`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, router: Router) -> None:
        for base in ("/v1", "/openai/v1", "/openai/deployments/{deployment}"):
            router.add("POST", f"{base}/chat/completions", self.handle)

    async def handle(self, request: Request) -> Response:
        self._state.calls[CHAT] += 1
        return unauthorised(request) or await guarded(self._state, CHAT, request, self._complete)

    async def _complete(self, request: Request, strike: Strike) -> Response:
        deployment = str(request.parameters.get("deployment") or "")
        prompt = prompt_of(request.json(), deployment, azure=request.path.startswith("/openai/"))
        if isinstance(prompt, Response):
            return prompt
        await self._state.clock.wait_for_llm()
        return json_response(completed(self._state, prompt, strike))


def prompt_of(body: Any, deployment: str = "", *, azure: bool = False) -> Prompt | Response:
    """Return what a request body asks for, or the error that refuses it."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        return bad_request("Missing required parameter: 'messages'.", "messages")
    model = str(body.get("model") or deployment)
    refused = refused_parameters(body, model, azure=azure)
    if refused is not None:
        return refused
    try:
        schema = _schema_of(body.get("response_format"))
    except SchemaRefused as error:
        return bad_request(f"Invalid schema for response_format: {error}", "response_format")
    system, user = _texts_of(body["messages"])
    return Prompt(model, system, user, schema, body.get("max_completion_tokens") or body.get("max_tokens"))


def completed(state: State, prompt: Prompt, strike: Strike, *, batched: bool = False) -> dict[str, Any]:
    """Answer and bill a prompt; return the completion object."""
    completion = complete(state, prompt, strike)
    return _completion(state, prompt, completion, bill(state, prompt, completion, batched=batched))


def _completion(state: State, prompt: Prompt, completion: Completion, tokens: Tokens) -> dict[str, Any]:
    content = None if completion.refusal else completion.text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content,
        "refusal": completion.refusal,
        "annotations": [],
    }
    finish = "length" if completion.truncated else "stop"
    return {
        "id": identifier(state, "chatcmpl-"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": prompt.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {
                "cached_tokens": tokens.cached,
                "cache_write_tokens": tokens.cache_writes,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_sandbox",
    }


def _schema_of(response_format: Any) -> StrictSchema | None:
    """Return the sent schema, None for free text. Raises SchemaRefused."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return None
    wrapper = response_format.get("json_schema")
    if not isinstance(wrapper, dict) or not wrapper.get("name"):
        raise SchemaRefused("Missing required parameter: 'response_format.json_schema.name'.")
    return check_schema(str(wrapper["name"]), wrapper.get("schema"), strict=bool(wrapper.get("strict")))


def _texts_of(messages: list[Any]) -> tuple[str, str]:
    """Return the static text, all messages of the system or developer, and the last message of the user."""
    static, user = [], ""
    for message in messages:
        text = content_text(message.get("content")) if isinstance(message, dict) else ""
        if isinstance(message, dict) and message.get("role") in ("system", "developer"):
            static.append(text)
        else:
            user = text
    return "\n".join(static), user


def content_text(content: Any) -> str:
    """Return a message's text, whether it was sent as a string or as parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")
