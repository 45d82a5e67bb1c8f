"""LLM requests that may wait: collected from all orgs of a process, sent by the vendor's Batch API at half the price.

Every request is written before it is sent, and its reply is kept: a rerun after a crash finds both, whoever sent it.
What no batch brings is asked directly, by the caller.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import structlog

from visibility.errors import DatabaseUnavailable, FatalError, RetryableError, VisibilityError
from visibility.identity import is_alive as lives
from visibility.llm.batch_submission import BatchSubmission
from visibility.llm.translation import refusal
from visibility.llm.vendor_batches import VendorBatches, request_line
from visibility.settings import LlmSettings
from visibility.store.database import Database
from visibility.store.llm_batches import NewLlmBatch, RequestRow, claim, leave, outcomes

MOST_BYTES = 150_000_000  # of an input file; the vendor takes 200 MB
STOPPED = "A batch of LLM requests could not be seen through; it is looked at again later."
LOOK_SECONDS = 0.02  # how long one that does not wait collects requests for one look into the database
ROUNDS = 3  # batches that never reached the vendor, after which a request goes directly

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BatchedReply:
    """A completion that a batch brought, its id as a call and the seconds it took."""

    key: str
    call_id: UUID
    completion: dict[str, Any]
    latency_seconds: float


@dataclass(slots=True)
class _Request:
    """A request that somebody waits for; `ended` gets its row, None to go directly, or why nothing is known.

    `body` is the caller's own object, encoded when needed: thousands wait for a day. `size` is in bytes.
    """

    key: str
    body: dict[str, Any]
    size: int
    ended: asyncio.Future[RequestRow | VisibilityError | None]
    rounds: int = 0

    @property
    def model(self) -> str:
        return str(self.body["model"])

    def end(self, outcome: RequestRow | VisibilityError | None) -> None:
        if not self.ended.done():
            self.ended.set_result(outcome)


@dataclass(slots=True)
class _Filling:
    """A batch that is still waiting for requests."""

    timer: asyncio.TimerHandle
    requests: list[_Request] = field(default_factory=list)
    size: int = 0


class BatchedCalls:
    """One per process and event loop; `submitter` is this process's name, which others check for life.

    One that does not wait (`waits`) buys nothing here: it takes the replies that are there, the rest goes directly.
    Raises ConfigurationError where Azure OpenAI is configured.
    """

    def __init__(
        self,
        database: Database,
        settings: LlmSettings,
        *,
        submitter: str,
        waits: bool = True,
        is_alive: Callable[[str], bool | None] = lives,
    ) -> None:
        self._database, self._settings, self._submitter, self._waits = database, settings, submitter, waits
        self._linger_seconds = settings.llm_batch_linger_seconds if waits else LOOK_SECONDS
        self._vendor = VendorBatches(settings)
        self._submission = BatchSubmission(database, self._vendor, settings, submitter, is_alive)
        self._waiting: dict[str, _Request] = {}
        self._spent: set[str] = set()
        self._filling: dict[str, _Filling] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, body: dict[str, Any]) -> BatchedReply | None:
        """Return the reply to a request body, or None when it is to be asked directly.

        Raises what a direct call would: ItemError, or ProviderRefused for key, quota or model. Cancelling the caller
        takes nothing back: the reply is there for who asks next.
        """
        request = self._entered(body)
        if request.key in self._spent:
            return None
        self._waiting[request.key] = request
        self._fill(request)
        try:
            outcome = await request.ended
        finally:
            del self._waiting[request.key]
        if isinstance(outcome, VisibilityError):
            raise type(outcome)(outcome.message, code=outcome.code)
        return None if outcome is None else _reply(outcome)

    def spend(self, reply: BatchedReply) -> None:
        """Note that the reply cannot be used: the same request goes directly from now on."""
        self._spent.add(reply.key)

    async def close(self) -> None:
        """Stop here; what is under way is seen through by the process that asks next."""
        for filling in self._filling.values():
            filling.timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._submission.close()
        for request in self._waiting.values():
            request.end(RetryableError(STOPPED))
        if tasks:
            with suppress(VisibilityError):  # then others notice that the signs of life have stopped
                await self._database.run(leave, self._submitter)
        await self._vendor.close()

    def _entered(self, body: dict[str, Any]) -> _Request:
        """Return the request under its key; of several with the same body at a time each has its own."""
        encoded = _encoded(body)
        number = 1
        while (key := self._key(encoded, number)) in self._waiting:
            number += 1
        return _Request(key, body, len(encoded), asyncio.get_running_loop().create_future())

    def _key(self, encoded: bytes, number: int) -> str:
        return hashlib.sha256(f"{self._vendor.account}|{number}|".encode() + encoded).hexdigest()

    def _fill(self, request: _Request) -> None:
        """Add the request to the batch that is filling for its model; one that is full is sent at once."""
        filling = self._filling.get(request.model)
        if filling is None:
            timer = asyncio.get_running_loop().call_later(self._linger_seconds, self._send, request.model)
            filling = self._filling[request.model] = _Filling(timer)
        filling.requests.append(request)
        filling.size += request.size
        if len(filling.requests) >= self._settings.llm_batch_max_requests or filling.size >= MOST_BYTES:
            self._send(request.model)

    def _send(self, model: str) -> None:
        filling = self._filling.pop(model)
        filling.timer.cancel()
        # whose caller has gone is not bought
        requests = {one.key: one for one in filling.requests if self._waiting.get(one.key) is one}
        if requests:
            self._begin(self._buy(model, requests) if self._waits else self._look(requests), requests)

    def _begin(self, work: Coroutine[Any, Any, None], requests: Mapping[str, _Request]) -> None:
        """Run the work; when it breaks, its requests fail: they may have been bought, a later pass finds them."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("llm_batch.stopped", error=type(error).__name__, requests=len(requests))
                known = error if isinstance(error, FatalError | DatabaseUnavailable) else RetryableError(STOPPED)
                for request in requests.values():
                    request.end(known)

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _look(self, requests: Mapping[str, _Request]) -> None:
        """End the requests with the replies that are there."""
        rows = {row.request_key: row for row in await self._database.run(outcomes, list(requests))}
        for key, request in requests.items():
            row = rows.get(key)
            request.end(row if row is not None and row.state == "answered" else None)

    async def _buy(self, model: str, requests: Mapping[str, _Request]) -> None:
        """Claim what nobody has bought, send it, and wait for every batch in which one of the requests travels."""
        new = NewLlmBatch(uuid4(), model, self._submitter)
        with self._submission.under_way(new.llm_batch_id):
            rows = await self._database.insist(claim, new, list(requests))
            travelling: dict[UUID, dict[str, _Request]] = {}
            for row in rows:
                if row.state == "open":
                    travelling.setdefault(row.llm_batch_id, {})[row.request_key] = requests[row.request_key]
                else:
                    requests[row.request_key].end(row)
            for llm_batch_id, group in travelling.items():
                self._begin(self._wait(llm_batch_id, group), group)
            written = {row.request_key for row in rows}
            self._again(request for key, request in requests.items() if key not in written)
            ours = [row for row in rows if row.state == "open" and row.llm_batch_id == new.llm_batch_id]
            if ours:
                lines = [request_line(row.request_id, _encoded(requests[row.request_key].body)) for row in ours]
                await self._submission.submit(new.llm_batch_id, lines)

    async def _wait(self, llm_batch_id: UUID, requests: Mapping[str, _Request]) -> None:
        """See the batch through and end its requests; one that never reached the vendor is sent again."""
        await self._submission.see_through(llm_batch_id)
        rows = {row.request_key: row for row in await self._database.insist(outcomes, list(requests))}
        left = [key for key, row in rows.items() if row.state == "left"]
        if left:
            log.warning("llm_batch.left", llm_batch_id=str(llm_batch_id), requests=len(left))
        for key, request in requests.items():
            row = rows.get(key)
            if row is not None and row.state != "open":
                request.end(row)
        self._again(request for request in requests.values() if not request.ended.done())

    def _again(self, requests: Iterable[_Request]) -> None:
        for request in requests:
            request.rounds += 1
            if request.rounds >= ROUNDS:
                request.end(None)
            else:
                self._fill(request)


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _reply(row: RequestRow) -> BatchedReply | None:
    """Return what the row holds; raises what the vendor refused the request for."""
    if row.state == "refused":
        raise refusal(row.status or 0, row.error_code or "")
    if row.reply is None:
        return None
    return BatchedReply(row.request_key, row.request_id, json.loads(row.reply), row.seconds or 0.0)
