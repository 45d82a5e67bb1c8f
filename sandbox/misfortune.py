"""Faults of the transport and of the account, laid around the work of an endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sandbox.faults import OPENAI, SLACK, Strike
from sandbox.state import State
from sandbox.web import Delivery, Request, Response, json_response

Work = Callable[[Request, Strike], Awaitable[Response]]

# Told apart by when they strike: before the work is taken on, after it, or on the way back.
BEFORE = {"connection_reset": Delivery.RESET, "timeout": Delivery.HOLD}
AFTER = {
    "reset_after_accept": Delivery.RESET,
    "timeout_after_accept": Delivery.HOLD,
    "slow_body": Delivery.SLOW,
    "truncated_json": Delivery.TRUNCATED,
}


async def guarded(state: State, surface: str, request: Request, work: Work) -> Response:
    """Draw this call's faults, do the work unless one forbids it, and return what the client gets."""
    strike = state.faults.strike(surface)
    if not strike.names and not strike.records:
        return await work(request, strike)
    refused = _before(state, surface, strike)
    if refused is not None:
        return refused
    response = await work(request, strike)
    if "server_error_after_accept" in strike:
        return _server_error(state, surface)
    for name, delivery in AFTER.items():
        if name in strike:
            response.delivery = delivery
            break
    return response


def _before(state: State, surface: str, strike: Strike) -> Response | None:
    for name, delivery in BEFORE.items():
        if name in strike:
            return Response(delivery=delivery)
    if "quota_gone" in strike:
        return _quota_gone(surface)
    if "rate_limited" in strike or "rate_limited_no_retry_after" in strike:
        return rate_limited(state, surface, retry_after="rate_limited" in strike)
    if "server_error" in strike:
        return _server_error(state, surface)
    return None


def rate_limited(state: State, surface: str, *, retry_after: bool) -> Response:
    """Return the 429 of the surface's vendor."""
    if surface not in OPENAI and surface != SLACK:
        return state.too_many("too many running jobs", retry_after=retry_after)
    state.throttled["slack" if surface == SLACK else "llm"] += 1
    seconds, milliseconds = state.clock.retry_after()
    headers = {"Retry-After": str(seconds), "retry-after-ms": str(milliseconds)} if retry_after else {}
    message = "Rate limit reached for requests. Please try again later."
    return llm_error(429, message, "requests", "rate_limit_exceeded", headers=headers)


def llm_error(
    status: int,
    message: str,
    kind: str,
    code: str | None,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an error in OpenAI's form."""
    return json_response({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, headers)


def _quota_gone(surface: str) -> Response:
    if surface in OPENAI:
        message = "You exceeded your current quota, please check your plan and billing details."
        return llm_error(429, message, "insufficient_quota", "insufficient_quota")
    return json_response({"error": "Account is suspended", "code": "account_suspended"}, 403)


def _server_error(state: State, surface: str) -> Response:
    status = (500, 502, 503)[state.calls[surface] % 3]
    if surface in OPENAI:
        return llm_error(status, "The server had an error while processing your request.", "server_error", None)
    return Response(status, b"<html><body>Bad gateway</body></html>", content_type="text/html")
