"""Bright Data over HTTP: one method per call; foreign errors become ours here.

The key is only in the header of the client; bodies are neither logged nor put into errors.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from visibility.errors import (
    ConfigurationError,
    ItemError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
    RetryableError,
)
from visibility.providers.brightdata.refusals import Problem
from visibility.providers.brightdata.throttle import Throttle
from visibility.settings import BrightDataSettings

FETCH_PATIENCE = 5  # a snapshot of many long answers may take several timeouts to arrive, as long as bytes come
LISTED_AT_MOST = 5000
SUBMISSIONS_AT_ONCE = 3  # so few that those under way at the first 429 and those after it stay below ten
READS_AT_ONCE = 16
REFUSING_STATUSES = frozenset({400, 413, 422})


class SubmissionRefused(ItemError):
    """400: the vendor accepted nothing; `problems` say (field, reason)."""

    code = "bad_input"

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class SnapshotGone(ItemError):
    """404: the vendor does not know the snapshot."""

    code = "snapshot_gone"


class UnreadableReply(RetryableError):
    """200, but the body is cut off or not what the call returns; the work was done all the same."""

    code = "unreadable_reply"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job as the vendor lists it; `created` in UTC, None when it cannot be read."""

    snapshot_id: str
    status: str
    created: datetime | None


class BrightDataClient:
    """One account. Every method may raise RateLimited, ProviderUnavailable or ProviderRefused."""

    def __init__(self, settings: BrightDataSettings) -> None:
        if settings.api_key is None:
            raise ConfigurationError("BRIGHTDATA_API_KEY is not set.")
        self._timeout_seconds = settings.request_timeout_seconds
        self.submissions = Throttle(settings.rate_limit_backoff_seconds, SUBMISSIONS_AT_ONCE)
        self._reads = Throttle(settings.rate_limit_backoff_seconds, READS_AT_ONCE)
        self._http = httpx.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {settings.api_key.get_secret_value()}"},
            # a request that our own time-out ends while it connects would cost httpx that connection for good
            # (httpcore 1.0.9): waiting for a connection and making it end before
            timeout=httpx.Timeout(
                self._timeout_seconds, connect=self._timeout_seconds / 3, pool=self._timeout_seconds / 3
            ),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def trigger(self, dataset_id: str, inputs: Sequence[dict[str, Any]]) -> str:
        """Submit a job and return its snapshot id.

        Raises SubmissionRefused (400). ProviderUnavailable with `sent` and UnreadableReply leave open
        whether the vendor accepted the job; all other errors mean that it did not.
        """
        query = {"dataset_id": dataset_id, "include_errors": "true"}
        response = await self._call("POST", "trigger", self.submissions, params=query, json=list(inputs))
        if response.status_code in REFUSING_STATUSES:
            raise SubmissionRefused("Bright Data refused the inputs of a job.", _problems(response))
        if response.status_code == httpx.codes.NOT_FOUND:
            raise ConfigurationError(f"Bright Data does not know the dataset {dataset_id}.")
        reply = _parsed(_checked(response))
        snapshot_id = reply.get("snapshot_id") if isinstance(reply, dict) else None
        if not isinstance(snapshot_id, str) or not snapshot_id.strip():
            raise UnreadableReply("Bright Data took a job without naming its snapshot.")
        return snapshot_id

    async def progress(self, snapshot_id: str) -> str:
        """Return the job's status in the vendor's words. Raises SnapshotGone."""
        reply = _parsed(_checked(await self._call("GET", f"progress/{snapshot_id}")))
        if not isinstance(reply, dict):
            raise UnreadableReply("Bright Data's progress cannot be read.")
        return str(reply.get("status"))

    async def fetch(self, snapshot_id: str) -> list[Any] | None:
        """Return the job's records, or None while they are being built (202).

        Raises SnapshotGone, and UnreadableReply for a body that is cut off.
        """
        response = await self._call(
            "GET", f"snapshot/{snapshot_id}", params={"format": "json"}, patience=FETCH_PATIENCE
        )
        if response.status_code == httpx.codes.ACCEPTED:
            return None
        records = _parsed(_checked(response))
        if isinstance(records, dict) and "status" in records:  # the 202's body under a 200
            return None
        if not isinstance(records, list):
            raise UnreadableReply("Bright Data's snapshot is not an array of records.")
        return records

    async def snapshots(self, dataset_id: str, since: datetime) -> list[Snapshot]:
        """Return the dataset's jobs that were accepted since a moment."""
        query = {
            "dataset_id": dataset_id,
            "from_date": since.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "limit": LISTED_AT_MOST,
        }
        rows = _parsed(_checked(await self._call("GET", "snapshots", params=query)))
        if not isinstance(rows, list):
            raise UnreadableReply("Bright Data's list of snapshots cannot be read.")
        return [_snapshot(row) for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]

    async def cancel(self, snapshot_id: str) -> None:
        """Stop a job; one that has ended already is left as it is. Raises SnapshotGone."""
        response = await self._call("POST", f"snapshot/{snapshot_id}/cancel")
        if response.status_code != httpx.codes.BAD_REQUEST:
            _checked(response)

    async def _call(
        self, method: str, path: str, throttle: Throttle | None = None, *, patience: int = 1, **options: Any
    ) -> httpx.Response:
        throttle = throttle or self._reads
        async with throttle.turn():
            with _our_errors():
                async with asyncio.timeout(self._timeout_seconds * patience):
                    response = await self._http.request(method, path, **options)
            if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                wait = _retry_after(response)
                throttle.refused(wait)
                raise RateLimited("Bright Data answered 429: too many jobs or calls.", retry_after_seconds=wait)
            throttle.accepted()
        return response


@contextmanager
def _our_errors() -> Iterator[None]:
    """Translate transport errors; none of them quotes the request."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ProviderUnavailable("Bright Data cannot be reached.", sent=False) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ConfigurationError("BRIGHTDATA_BASE_URL is not a web address.") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise ProviderUnavailable("Bright Data did not answer in time.") from error
    except httpx.DecodingError as error:
        raise UnreadableReply("Bright Data's reply cannot be decoded.") from error
    except httpx.HTTPError as error:
        raise ProviderUnavailable("The connection to Bright Data broke.") from error


def _checked(response: httpx.Response) -> httpx.Response:
    """Return a successful response; raise what the status means otherwise."""
    status = response.status_code
    if status in (401, 402, 403):
        reasons = {401: "the key is not valid", 402: "the balance is used up", 403: "the account may not do this"}
        raise ProviderRefused(f"Bright Data answered {status}: {reasons[status]}.")
    if status == httpx.codes.NOT_FOUND:
        raise SnapshotGone("Bright Data answered 404: it does not know this.")
    if not response.is_success:
        raise ProviderUnavailable(f"Bright Data answered {status}.")
    return response


def _parsed(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise UnreadableReply("Bright Data's reply is cut off or not JSON.") from error


def _problems(response: httpx.Response) -> list[Problem]:
    """Return the [field, reason] pairs of a 400; an unreadable one names nothing."""
    try:
        reply = json.loads(response.content)
    except ValueError:
        return []
    errors = reply.get("errors") if isinstance(reply, dict) else None
    pairs = [pair for pair in errors or () if isinstance(pair, list) and len(pair) >= 2]
    return [(str(field), str(reason)) for field, reason, *_ in pairs]


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After; None when it is absent or a date (which we do not trust our clock for)."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _snapshot(row: dict[str, Any]) -> Snapshot:
    try:
        created = datetime.fromisoformat(str(row.get("created")))
    except ValueError:
        created = None
    if created is not None and created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    return Snapshot(row["id"], str(row.get("status")), created)
