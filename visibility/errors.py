"""Every error that leaves its own package; the class says what to do about it.

VisibilityError
├── RetryableError            trying again later may work
│   ├── RateLimited           429; carries retry_after_seconds
│   ├── ProviderUnavailable   5xx, timeout, connection, open breaker
│   └── DatabaseUnavailable   cannot connect
├── ItemError                 this item cannot be done; go on with the others
│   └── UnusableReply         the LLM was paid, but its reply cannot be used; carries the call
├── FatalError                nothing of this provider or run can work
│   ├── ProviderRefused       wrong key, suspended account, quota gone
│   ├── ConfigurationError    a setting is missing or wrong
│   │   └── UnsupportedDatabase
│   ├── InvalidInput          the caller asked for something that is not there or not valid
│   │   └── InvalidFile       a loaded file: line and field
│   └── InsufficientCredits   names payer, balance, needed
├── ProviderDown             an engine gets a pause after too many failures; what it was not asked is asked later
├── BatchFailed               the batch ended below its coverage threshold; what was answered is kept
└── LeaseLost                 another flow has taken over this batch

What visibility/providers/brightdata raises for itself and never lets out lives beside the code that raises it:

    client.SubmissionRefused (ItemError), client.SnapshotGone (ItemError), client.UnreadableReply (RetryableError),
    lookup.Unresolved (RetryableError), submission.SubmissionLost, throttle.Withheld (RateLimited)

All are picklable: they carry plain values and one sentence.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from visibility.domain import LlmCall


class VisibilityError(Exception):
    """Base of all errors of the product; `code` is what is stored and counted."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(cls: type[VisibilityError], args: tuple[object, ...], state: dict[str, object]) -> VisibilityError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class RetryableError(VisibilityError):
    """Trying again later may work: rate limits, timeouts, 5xx."""

    code = "retryable"


class RateLimited(RetryableError):
    """The vendor asks for patience; `retry_after_seconds` is its own figure, or None."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class ProviderUnavailable(RetryableError):
    """The vendor cannot be reached or answers 5xx; `sent` is False when the request never left."""

    code = "provider_unavailable"

    def __init__(self, message: str, *, sent: bool = True, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.sent = sent


class DatabaseUnavailable(RetryableError):
    """No connection to Postgres can be made."""

    code = "database_unavailable"


class ItemError(VisibilityError):
    """This item cannot be done; record it and go on with the others."""

    code = "item_failed"


class UnusableReply(ItemError):
    """The LLM refused, was cut off or broke the schema; `call` is what the vendor bills for it."""

    code = "llm_invalid_reply"

    def __init__(self, message: str, *, call: LlmCall, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.call = call


class FatalError(VisibilityError):
    """Nothing of this provider or run can work: wrong key, wrong configuration."""

    code = "fatal"


class ProviderRefused(FatalError):
    """The vendor refuses every request: key, suspension, quota."""

    code = "provider_refused"


class ConfigurationError(FatalError):
    """A setting is missing or has a value that cannot work."""

    code = "configuration"


class UnsupportedDatabase(ConfigurationError):
    """The Postgres server is older than the product supports."""

    code = "unsupported_database"


class InvalidInput(FatalError):
    """The caller named something that does not exist or is not valid."""

    code = "invalid_input"


class InvalidFile(InvalidInput):
    """A loaded file is wrong; the sentence names the file, the line and the field."""

    code = "invalid_file"


class InsufficientCredits(FatalError):
    """The payer's balance minus its active holds, or the org's spend limit, does not cover the amount; USD."""

    code = "insufficient_credits"

    def __init__(
        self, payer_type: str, payer_id: UUID, balance: Decimal, needed: Decimal, *, message: str | None = None
    ) -> None:
        super().__init__(
            message
            or f"{payer_type} {payer_id} has {balance} USD available and needs {needed} USD; "
            "nothing was asked. Top up the balance and start the evaluation again."
        )
        self.payer_type, self.payer_id = payer_type, payer_id
        self.balance, self.needed = balance, needed


class ProviderDown(VisibilityError):
    """An engine has failed too often in a row and gets a pause; runs of it have failed without being asked."""

    code = "provider_down"


class BatchFailed(VisibilityError):
    """The batch ended below its coverage threshold; what was answered is kept, a rerun asks the rest.

    `summary` is the batch's OrgEvaluationSummary.
    """

    code = "batch_failed"

    def __init__(self, message: str, *, summary: object = None) -> None:
        super().__init__(message)
        self.summary = summary


class LeaseLost(VisibilityError):
    """Another flow has taken over this batch; stop working on it."""

    code = "lease_lost"


def sentence_of(error: BaseException) -> str:
    """Return an error as a sentence; the text of a foreign one may quote answers or keys and stays in the log."""
    if isinstance(error, VisibilityError):
        return str(error)
    return f"Unexpected {type(error).__name__}; the log of the flow run says more."
