"""What the tasks of one process share: one database pool, one answer collector, one LLM client.

A flow opens the resources once; flows inside it (a shard's orgs) find them open and share them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module

from blocks.configuration import settings_from_blocks
from tasks.limits import limiter
from visibility.collection import AnswerCollector
from visibility.evaluation import extractor_version
from visibility.identity import new_owner
from visibility.llm.batched import BatchedCalls
from visibility.llm.client import LlmClient
from visibility.settings import Settings
from visibility.shared_brands import SharedBrands
from visibility.store.database import Database, connect


@dataclass(frozen=True)
class Resources:
    """Open clients; `llm` and `brands` are None only where evaluation by rule alone was chosen.

    `in_flight` are the places for flows of orgs inside another flow: that many are evaluated at a time.
    """

    settings: Settings
    database: Database
    collector: AnswerCollector
    llm: LlmClient | None
    brands: SharedBrands | None
    in_flight: asyncio.Semaphore

    @property
    def extractor_version(self) -> str:
        """Version of prompts + schema + model + code, stored on every evaluation."""
        return extractor_version(self.settings.llm)


_open: ContextVar[Resources | None] = ContextVar("resources", default=None)


def current() -> Resources:
    """Return the resources of the running flow."""
    resources = _open.get()
    if resources is None:
        raise RuntimeError("No resources are open: call tasks from a flow, inside `async with opened()`.")
    return resources


@asynccontextmanager
async def opened(
    settings: Settings | None = None,
    *,
    linger_seconds: float | None = 0,
    asks: bool = True,
    reads: bool = True,
    patient: bool = False,
) -> AsyncIterator[Resources]:
    """Open the resources, or join those that an outer flow has opened.

    `linger_seconds` is how long a vendor job waits for questions of other orgs, None as the settings say; one org
    alone does not wait.
    `patient`: what is read may wait for the LLM's Batch API where the settings choose it; a person does not wait.
    Without `asks` no vendor's key is needed: stored answers are read; without `reads` either, no key at all. Raises
    ConfigurationError for a missing key.
    """
    if (resources := _open.get()) is not None:
        yield resources
        return
    settings = settings or await settings_from_blocks(asks=asks, reads=reads)
    if reads:
        settings.require_keys(asks=asks)
    _collect_rarely()
    resources = _connect(settings, linger_seconds, patient=patient)
    token = _open.set(resources)
    try:
        yield resources
    finally:
        _open.reset(token)
        await resources.collector.close()
        if resources.brands is not None:
            await resources.brands.close()
        if resources.llm is not None:
            await resources.llm.close()
        resources.database.close()


def _collect_rarely() -> None:
    """Look for cycles of garbage rarely: each full look goes through a million objects of libraries, which stay.

    With Python's own thresholds it took a shard a sixth of its CPU, 0.11 s per org; memory grows by a few MB.
    """
    gc.set_threshold(10_000, 20, 10)


def preload() -> None:
    """Import what summaries need, a second of work, in a thread: while vendors work it costs no time."""
    asyncio.get_running_loop().run_in_executor(None, import_module, "pandas")


def _shared_brands(settings: Settings, database: Database, llm: LlmClient, process: str) -> SharedBrands:
    return SharedBrands(
        database, llm, reader=process, max_attempts=settings.max_attempts, claim_seconds=settings.lease_seconds
    )


def _llm(settings: Settings, database: Database, process: str, *, patient: bool) -> LlmClient:
    if not settings.llm.llm_batch:
        return LlmClient(settings.llm, shards=settings.shards)
    batched = BatchedCalls(database, settings.llm, submitter=process, waits=patient)
    return LlmClient(settings.llm, shards=settings.shards, batched=batched)


def _connect(settings: Settings, linger_seconds: float | None, *, patient: bool) -> Resources:
    process = new_owner()
    database = connect(settings)
    llm = _llm(settings, database, process, patient=patient) if settings.llm.configured else None
    brands = _shared_brands(settings, database, llm, process) if llm else None
    collector = AnswerCollector(
        database,
        settings.brightdata,
        max_attempts=settings.max_attempts,
        submitter=process,
        linger_seconds=linger_seconds,
        limiter=limiter(settings),
    )
    return Resources(settings, database, collector, llm, brands, asyncio.Semaphore(settings.orgs_in_flight))
