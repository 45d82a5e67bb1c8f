"""Requests, responses and routes on bare ASGI, with the deliveries that a broken network makes."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "sandbox.transport"  # where the protocol class puts the connection into the scope
SLOW_PIECES = 10


class Delivery(Enum):
    """How the bytes of a response reach the client."""

    NORMAL = "normal"
    RESET = "reset"
    HOLD = "hold"
    SLOW = "slow"
    TRUNCATED = "truncated"


class BadBody(Exception):
    """The request body is not the JSON that the endpoint takes."""


@dataclass
class Request:
    """One request, body read; `headers` have lower-case names."""

    method: str
    path: str
    query_string: bytes
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    parameters: dict[str, str] = field(default_factory=dict)

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    @cached_property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}

    def json(self) -> Any:
        """Return the decoded body; lone surrogates escaped as \\uD8xx are let through. Raises BadBody."""
        try:
            return orjson.loads(self.body)
        except ValueError:
            try:
                return json.loads(self.body)
            except ValueError as error:
                raise BadBody(str(error)) from error


@dataclass
class Response:
    """What to answer; `delivery` other than NORMAL breaks the transport on purpose."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    delivery: Delivery = Delivery.NORMAL


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Encode a value; text with lone surrogates, which orjson refuses, goes out as \\u escapes."""
    try:
        body = orjson.dumps(value)
    except TypeError:
        body = json.dumps(value).encode()
    return Response(status, body, headers or {})


Handler = Callable[[Request], Awaitable[Response]]


class Router:
    """Exact paths first, then patterns in the order in which they were added."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], Handler] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Handler]] = []

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Add a route; `{name}` in the path takes one segment."""
        if "{" not in path:
            self._exact[method, path] = handler
            return
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
        self._patterns.append((method, re.compile(pattern), handler))

    async def __call__(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        handler = self._exact.get((request.method, path))
        if handler is not None:
            return await handler(request)
        for method, pattern, handler in self._patterns:
            match = pattern.fullmatch(path)
            if match and method == request.method:
                request.parameters = match.groupdict()
                return await handler(request)
        return json_response({"error": f"The sandbox has no {request.method} {request.path}"}, 404)


class Application:
    """The ASGI application: read the body, ask the handler, deliver."""

    def __init__(self, handler: Handler, *, hold_seconds: float, slow_seconds: float) -> None:
        self._handler = handler
        self._hold_seconds = hold_seconds
        self._slow_seconds = slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        if body is None:
            return
        request = Request(scope["method"], scope["path"], scope["query_string"], scope["headers"], body)
        try:
            response = await self._handler(request)
        except BadBody as error:
            response = json_response({"error": f"The body is not valid JSON: {error}", "code": "parse_error"}, 400)
        await self._deliver(response, scope, receive, send)

    async def _deliver(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        if response.delivery is Delivery.HOLD:
            await _wait_for_disconnect(receive, self._hold_seconds)
        if response.delivery in (Delivery.HOLD, Delivery.RESET):
            await _reset(scope, receive)
            return
        body = response.body
        if response.delivery is Delivery.TRUNCATED:
            body = body[: len(body) // 2]
        await send({"type": "http.response.start", "status": response.status, "headers": _headers(response, body)})
        if response.delivery is Delivery.SLOW:
            await self._dribble(body, send)
        else:
            await send({"type": "http.response.body", "body": body})

    async def _dribble(self, body: bytes, send: Send) -> None:
        size = max(1, len(body) // SLOW_PIECES)
        for start in range(0, len(body), size):
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
            await asyncio.sleep(self._slow_seconds / SLOW_PIECES)
        await send({"type": "http.response.body", "body": b""})


def _headers(response: Response, body: bytes) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", response.content_type.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    return headers


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None when the client went away while sending it."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    pieces = [message.get("body", b"")]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
    return b"".join(pieces)


async def _wait_for_disconnect(receive: Receive, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _reset(scope: Scope, receive: Receive) -> None:
    """Send RST: with a linger time of 0 the kernel drops the connection instead of closing it politely."""
    transport: asyncio.Transport = scope[TRANSPORT]
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    await _wait_for_disconnect(receive, 5)
