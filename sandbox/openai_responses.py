"""OpenAI's and Azure's Responses, with the web search tool."""

from __future__ import annotations

import time
from typing import Any

from sandbox.answers import WorldAnswer
from sandbox.faults import RESPONSES, Strike
from sandbox.llm import (
    MODELS,
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
from sandbox.openai_chat import content_text
from sandbox.state import State
from sandbox.structured import SchemaRefused, StrictSchema, check_schema
from sandbox.web import Request, Response, Router, json_response


class Responses:
    """`/v1/responses`, `/v1/models` and their Azure paths."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, router: Router) -> None:
        for base in ("/v1", "/openai/v1", "/openai"):
            router.add("POST", f"{base}/responses", self.handle)
            router.add("GET", f"{base}/models", self.models)

    async def models(self, request: Request) -> Response:
        rows = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "sandbox"} for name in MODELS]
        return unauthorised(request) or json_response({"object": "list", "data": rows})

    async def handle(self, request: Request) -> Response:
        self._state.calls[RESPONSES] += 1
        return unauthorised(request) or await guarded(self._state, RESPONSES, request, self._respond)

    async def _respond(self, request: Request, strike: Strike) -> Response:
        body = request.json()
        if not isinstance(body, dict) or not body.get("input"):
            return bad_request("Missing required parameter: 'input'.", "input")
        model = str(body.get("model") or "")
        refused = refused_parameters(body, model, azure=request.path.startswith("/openai/"))
        if refused is not None:
            return refused
        try:
            schema = _schema_of(body.get("text"))
        except SchemaRefused as error:
            return bad_request(f"Invalid schema for text.format: {error}", "text.format.schema")
        await self._state.clock.wait_for_llm()
        system, user = _texts_of(body)
        prompt = Prompt(model, system, user, schema, body.get("max_output_tokens"))
        tool = _search_tool(body)
        completion = complete(self._state, prompt, strike, country=_country(tool))
        searches = len(completion.answer.queries) if tool and completion.answer else 0
        tokens = bill(self._state, prompt, completion, searches=searches)
        return json_response(self._body(body, prompt, completion, tokens, searches))

    def _body(
        self, body: dict[str, Any], prompt: Prompt, completion: Completion, tokens: Tokens, searches: int
    ) -> dict[str, Any]:
        status = "incomplete" if completion.truncated else "completed"
        return {
            "id": identifier(self._state, "resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if completion.truncated else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": prompt.max_tokens,
            "metadata": body.get("metadata") or {},
            "model": prompt.model,
            "output": self._output(completion, status, searches),
            "parallel_tool_calls": True,
            "temperature": body.get("temperature"),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": 1.0,
            "usage": {
                "input_tokens": tokens.input,
                "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.cache_writes},
                "output_tokens": tokens.output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens.input + tokens.output,
            },
        }

    def _output(self, completion: Completion, status: str, searches: int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for number, query in enumerate(completion.answer.queries[:searches] if completion.answer else ()):
            action = {"type": "search", "query": query}
            search_id = f"{identifier(self._state, 'ws_')}{number}"
            items.append({"id": search_id, "type": "web_search_call", "status": "completed", "action": action})
        if completion.refusal:
            part: dict[str, Any] = {"type": "refusal", "refusal": completion.refusal}
        else:
            annotations = _annotations(completion.answer, completion.text) if searches else []
            part = {"type": "output_text", "text": completion.text, "annotations": annotations, "logprobs": []}
        message_id = identifier(self._state, "msg_")
        items.append({"id": message_id, "type": "message", "status": status, "role": "assistant", "content": [part]})
        return items


def _annotations(answer: WorldAnswer | None, text: str) -> list[dict[str, Any]]:
    """Return the url citations at the places where their links stand in the text."""
    annotations = []
    for source in answer.sources if answer else ():
        link = f"([{source.domain}]({source.url}))"
        start = text.find(link)
        if start >= 0:
            place = {"start_index": start, "end_index": start + len(link)}
            annotations.append({"type": "url_citation", **place, "url": source.url, "title": source.title})
    return annotations


def _search_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, dict)]
    return next((tool for tool in tools if str(tool.get("type", "")).startswith("web_search")), None)


def _country(tool: dict[str, Any] | None) -> str:
    location = (tool or {}).get("user_location") or {}
    return str(location.get("country") or "US")


def _schema_of(text: Any) -> StrictSchema | None:
    """Return the schema of `text.format`, None for free text. Raises SchemaRefused."""
    wrapper = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wrapper, dict) or wrapper.get("type") != "json_schema":
        return None
    if not wrapper.get("name"):
        raise SchemaRefused("Missing required parameter: 'text.format.name'.")
    return check_schema(str(wrapper["name"]), wrapper.get("schema"), strict=bool(wrapper.get("strict")))


def _texts_of(body: dict[str, Any]) -> tuple[str, str]:
    """Return the static text (instructions, system and developer messages) and the user's last message."""
    static, user = [str(body.get("instructions") or "")], ""
    if isinstance(body["input"], str):
        return static[0], body["input"]
    for message in body["input"]:
        text = content_text(message.get("content")) if isinstance(message, dict) else ""
        if isinstance(message, dict) and message.get("role") in ("system", "developer"):
            static.append(text)
        else:
            user = text
    return "\n".join(static), user
