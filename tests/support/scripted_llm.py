"""A Chat Completions server that answers by script: real HTTP for the client's own tests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass
class Step:
    """One response; `delay_seconds` before it, `cut` bytes dropped from its end."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    cut: int = 0


@dataclass
class ScriptedLlm:
    """Plays `steps` in order, the last one for ever; `requests` holds what came in."""

    url: str = ""
    steps: list[Step] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def respond(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append({"path": request.url.path, "headers": dict(request.headers), "body": body})
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        await asyncio.sleep(step.delay_seconds)
        text = step.body if isinstance(step.body, str) else json.dumps(step.body)
        text = text[: len(text) - step.cut]
        return Response(text, step.status, step.headers, media_type="application/json")


def completion(content: Any, *, finish_reason: str = "stop", refusal: str | None = None, cached: int = 0) -> Step:
    """Return a billed completion of 1,000 input and 100 output tokens."""
    text = content if isinstance(content, str) else json.dumps(content)
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    usage = {
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": cached},
    }  # fmt: skip
    return Step(
        body={
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-6-luna",
            "usage": usage,
            "choices": [{"index": 0, "finish_reason": finish_reason, "message": message, "logprobs": None}],
        }
    )


def failure(status: int, code: str | None = None, **headers: str) -> Step:
    """Return an error response as OpenAI writes it; underscores in header names become hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Step(status, {"error": {"message": "secret detail sk-live-1", "type": code, "code": code}}, names)


@contextmanager
def scripted_llm(*steps: Step) -> Iterator[ScriptedLlm]:
    """Play the steps on this process's server."""
    llm = _server()
    llm.steps, llm.requests = list(steps), []
    yield llm


@cache
def _server() -> ScriptedLlm:
    """Start the server once per process: starting and stopping one takes 0.3 s."""
    llm = ScriptedLlm()
    app = Starlette(routes=[Route("/{path:path}", llm.respond, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    llm.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    return llm
