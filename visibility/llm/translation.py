"""Errors of the openai SDK stop here and become ours: one sentence, a code, no key, no response body."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from visibility.errors import (
    ItemError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
    VisibilityError,
)

if TYPE_CHECKING:
    from openai import APIStatusError

QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
ACCOUNT_CODES = frozenset({"model_not_found", "unsupported_parameter", "unsupported_value", "DeploymentNotFound"})
RETRYABLE_STATUS = frozenset({408, 409})


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors instead of the SDK's, of its HTTP library's and of a time-out's."""
    import httpx2
    import openai
    from aiohttp import ClientError

    try:
        yield
    except openai.APIStatusError as error:
        raise from_status(error) from None
    except (openai.APIConnectionError, httpx2.TimeoutException, TimeoutError) as error:
        raise _unavailable(error) from None
    except (openai.OpenAIError, httpx2.HTTPError, ClientError, ValueError) as error:
        # ValueError: a body that was cut off is not JSON, and the SDK lets the decoder's error through.
        # ClientError: the aiohttp transport lets through that a response is not HTTP
        raise ProviderUnavailable(
            f"The LLM's response could not be read ({type(error).__name__}).", code="llm_broken_response"
        ) from None


def _unavailable(error: Exception) -> ProviderUnavailable:
    """Tell a time-out from a broken connection, which the aiohttp transport calls a time-out too."""
    import openai
    from aiohttp import ClientConnectionError

    causes = _causes(error)
    late = isinstance(error, openai.APITimeoutError) or not isinstance(error, openai.APIConnectionError)
    if late and all(isinstance(cause, TimeoutError) for cause in causes if isinstance(cause, ClientConnectionError)):
        return ProviderUnavailable("The LLM did not answer in time.", code="llm_timeout")
    name = type(causes[-1]).__name__
    return ProviderUnavailable(f"The LLM cannot be reached ({name}).", code="llm_unavailable")


def _causes(error: BaseException) -> list[BaseException]:
    return [error, *(_causes(error.__cause__) if error.__cause__ else ())]


def from_status(error: APIStatusError) -> VisibilityError:
    """Return our error for a response: the code inside the body decides where the status does not."""
    return refusal(error.status_code, error.code or error.type or "", retry_after(error))


def refusal(status: int, code: str, wait_seconds: float | None = None) -> VisibilityError:
    """Return our error for an HTTP status and the code inside its body."""
    if code in QUOTA_CODES:
        return ProviderRefused("The LLM account's quota is used up.", code="llm_quota_gone")
    if status in (401, 403):
        return ProviderRefused(f"The LLM refuses the key (HTTP {status}).", code="llm_key_refused")
    if status == 404 or code in ACCOUNT_CODES:
        return ProviderRefused(
            f"The LLM does not serve this model, deployment or parameter (HTTP {status}).", code="llm_model_refused"
        )
    if status == 429:
        message = "The LLM asks for fewer requests."
        return RateLimited(message, retry_after_seconds=wait_seconds, code="llm_rate_limited")
    if status >= 500 or status in RETRYABLE_STATUS:
        return ProviderUnavailable(f"The LLM has a failure of its own (HTTP {status}).", code="llm_unavailable")
    return ItemError(f"The LLM does not accept this request (HTTP {status}).", code="llm_bad_request")


def retry_after(error: APIStatusError) -> float | None:
    """Return the seconds that the vendor asks to wait, from `retry-after-ms` or `Retry-After` (seconds or a date)."""
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0)
        value = headers.get("retry-after")
        return None if value is None else max(_seconds(value), 0)
    except ValueError:
        return None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - time.time()
