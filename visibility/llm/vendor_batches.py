"""OpenAI's Batch API, in our words: upload and start, find again, look, fetch, cancel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from visibility.errors import ConfigurationError, ProviderUnavailable, RetryableError
from visibility.llm.endpoint import endpoint_of
from visibility.llm.translation import refusal, translated
from visibility.settings import LlmSettings
from visibility.store.llm_batches import Result

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
OUR_ID = "senso_llm_batch"  # in the metadata: by it a batch is found again
SKEW = timedelta(minutes=5)  # between the clocks of vendor, database and this machine
TRANSFER_SECONDS = 600.0  # a file of 200 MB
TERMINAL = {"completed": "fetched", "failed": "failed", "expired": "expired", "cancelled": "cancelled"}
AZURE_REFUSED = (
    "LLM_BATCH works with OpenAI alone: Azure OpenAI serves batches from a deployment of a type of its own "
    "(Global Batch), which cannot answer single calls. Unset LLM_BATCH or the AZURE_OPENAI_ settings."
)


class BatchGone(RetryableError):
    """The vendor does not know the batch or its files: another account's, or deleted."""

    code = "llm_batch_gone"


@dataclass(frozen=True, slots=True)
class Look:
    """How a batch stands; `ended` is the state to close it in, None while it is under way."""

    ended: str | None
    files: tuple[str, ...]
    why: str


class VendorBatches:
    """Connects when first needed. Every method raises our errors.

    Raises ConfigurationError where Azure OpenAI is configured.
    """

    def __init__(self, settings: LlmSettings) -> None:
        self._endpoint = endpoint_of(settings)
        if self._endpoint.deployment is not None:
            raise ConfigurationError(AZURE_REFUSED)
        self._settings = settings
        self._sdk: AsyncOpenAI | None = None

    @property
    def account(self) -> str:
        """Where requests go: replies of a simulation are not those of the vendor."""
        return self._endpoint.base_url

    async def upload(self, llm_batch_id: UUID, lines: Iterable[bytes]) -> str:
        """Upload the requests, one JSON document per line; return the file's id."""
        content = b"\n".join(lines)
        with translated():
            stored = await self._connected().files.create(
                file=(f"{llm_batch_id}.jsonl", content), purpose="batch", timeout=TRANSFER_SECONDS
            )
        return _known_id(stored)

    async def create(self, llm_batch_id: UUID, file_id: str) -> str:
        """Start a batch; return the vendor's id. A RetryableError may mean that it was started all the same."""
        with translated():
            batch = await self._connected().batches.create(
                input_file_id=file_id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={OUR_ID: str(llm_batch_id)},
            )
        return _known_id(batch)

    async def find(self, llm_batch_id: UUID, since: datetime) -> str | None:
        """Return the vendor's id of a batch that was started after `since`, or None when none is listed."""
        earliest = (since - SKEW).timestamp()
        with translated():
            async for batch in self._connected().batches.list(limit=100):  # the newest first
                if (batch.metadata or {}).get(OUR_ID) == str(llm_batch_id):
                    return batch.id
                if batch.created_at < earliest:
                    return None
        return None

    async def look(self, vendor_batch_id: str) -> Look:
        """Return how a batch stands. Raises BatchGone."""
        with translated(), _known():
            batch = await self._connected().batches.retrieve(vendor_batch_id)
        files = tuple(name for name in (batch.output_file_id, batch.error_file_id) if name)
        return Look(TERMINAL.get(batch.status), files, _why(batch))

    async def results(self, files: Sequence[str]) -> list[Result]:
        """Fetch what the files say, one result per request: the first one of each. Raises BatchGone."""
        found: dict[UUID, Result] = {}
        for file_id in files:
            with translated(), _known():
                content = await self._connected().files.content(file_id, timeout=TRANSFER_SECONDS)
                results = [_result(json.loads(line)) for line in content.content.splitlines() if line.strip()]
            for result in results:
                if result is not None:
                    found.setdefault(result.request_id, result)
        return list(found.values())

    async def cancel(self, vendor_batch_id: str) -> None:
        """Stop a batch; what it has answered by then is sold."""
        with translated():
            await self._connected().batches.cancel(vendor_batch_id)

    async def close(self) -> None:
        """Close the connections."""
        if self._sdk is not None:
            await self._sdk.close()
            self._sdk = None

    def _connected(self) -> AsyncOpenAI:
        if self._sdk is None:
            from openai import AsyncOpenAI  # slow to import

            self._sdk = AsyncOpenAI(
                base_url=self._endpoint.base_url,
                api_key=self._endpoint.key,
                timeout=self._settings.llm_timeout_seconds,
                max_retries=0,
            )
        return self._sdk


def request_line(request_id: UUID, body: bytes) -> bytes:
    """Return a line of the input file; `body` is the JSON that a direct call would send."""
    return b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}' % (
        str(request_id).encode(),
        ENDPOINT.encode(),
        body,
    )


@contextmanager
def _known() -> Iterator[None]:
    import openai

    try:
        yield
    except openai.NotFoundError:
        raise BatchGone("The LLM's vendor does not know this batch.") from None


def _known_id(created: Any) -> str:
    """Return the id of what was created; the SDK does not validate what it reads."""
    if not isinstance(getattr(created, "id", None), str):
        raise ProviderUnavailable("The LLM's response has no id.", code="llm_broken_response")
    return str(created.id)


def _result(line: Any) -> Result | None:
    """Return what a line says, None where it brings nothing: not executed, or for a reason that may pass."""
    response = line.get("response") if isinstance(line, dict) else None
    if not isinstance(response, dict):
        return None
    body, status = response.get("body"), response.get("status_code")
    try:
        request_id = UUID(str(line.get("custom_id")))
    except ValueError:
        return None
    if status == 200 and isinstance(body, dict):
        return Result(request_id, json.dumps(body))
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(status, int) or not isinstance(error, dict):
        return None
    code = str(error.get("code") or error.get("type") or "")
    return None if isinstance(refusal(status, code), RetryableError) else Result(request_id, None, status, code)


def _why(batch: Batch) -> str:
    """Return the codes of what is wrong with the whole batch."""
    errors = batch.errors.data if batch.errors else None
    return ", ".join(sorted({error.code or "unknown" for error in errors or ()}))
