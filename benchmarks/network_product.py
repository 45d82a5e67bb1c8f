"""The flows of networks, measured step by step in one process.

    python -m benchmarks.network_product --sandbox-url … --database-url … ask:NETWORK:DATE read:ORG:DATE …

prints a JSON list, one entry per step. `ask` runs network-questions for a date, `read` runs network-org-missing for
an org since a date, `store` puts a date's answers of a network into the database as if they had been asked.
PREFECT_API_URL must name a running server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date
from typing import Any
from uuid import UUID

import httpx
from pydantic import BaseModel

from benchmarks import tokens
from benchmarks.attribution import attributed
from benchmarks.crowd import store_answers, texts_of
from benchmarks.product import counting
from benchmarks.usage import spent_since, usage_now
from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from tasks import resources
from visibility.llm.client import LlmClient
from visibility.settings import Settings
from visibility.store.networks import load_network

Flow = Callable[[UUID, date], Awaitable[BaseModel]]


class Steps:
    """Runs and measures steps with the resources that are open."""

    def __init__(self, opened: resources.Resources, sandbox_url: str, *, profile: bool) -> None:
        self._opened, self._sandbox_url, self._profile = opened, sandbox_url, profile

    async def run(self, step: str) -> dict[str, Any]:
        """Run one step; return its times, statements, calls and summary."""
        kind, identity, day = step.split(":")
        run_date = date.fromisoformat(day)
        if kind == "store":
            return await self._store(UUID(identity), run_date)
        flows: dict[str, Flow] = {"ask": _ask, "read": _read}
        return await self._measured(flows[kind](UUID(identity), run_date))

    async def _store(self, network_id: UUID, run_date: date) -> dict[str, Any]:
        network = await self._opened.database.run(load_network, network_id)
        texts = await asyncio.to_thread(texts_of, self._sandbox_url, network)
        batch_id = await self._opened.database.run(store_answers, network, run_date, texts)
        return {"batch_id": str(batch_id)}

    async def _measured(self, flow: Awaitable[BaseModel]) -> dict[str, Any]:
        settings, client = self._opened.settings, self._opened.llm
        assert settings.database_url is not None
        assert client is not None
        sampler: AbstractContextManager[dict[str, float]] = attributed() if self._profile else nullcontext({})
        calls, seconds = llm_time(self._sandbox_url)
        began, before = time.time(), usage_now()
        with counting(settings.database_url) as counted, recorded(client) as requests, sampler as spent:
            summary = await flow
            usage = spent_since(before)
        calls_after, seconds_after = llm_time(self._sandbox_url)
        calls_made = calls_after - calls
        return {
            "began": began,
            **usage.as_dict(),
            "statements": counted.statements,
            "connections": counted.connections,
            "mean_call": (seconds_after - seconds) / calls_made if calls_made else None,
            "calls": requests,
            "profile": spent,
            "summary": summary.model_dump(mode="json"),
        }


async def _ask(network_id: UUID, run_date: date) -> BaseModel:
    return await network_questions(network_id, triggered_by="benchmark", run_date=run_date)


async def _read(org_id: UUID, since: date) -> BaseModel:
    return await network_org_missing(org_id, since=since, triggered_by="benchmark")


def llm_time(sandbox_url: str) -> tuple[int, float]:
    """Return the LLM calls that a sandbox has answered so far, and the seconds that they took it together."""
    sold = httpx.get(f"{sandbox_url}/_accounting", params={"detail": "false"}, timeout=60).raise_for_status().json()
    calls = sold["llm"]["calls"]
    return calls, calls * (sold["llm"]["mean_seconds"] or 0.0)


@contextmanager
def recorded(client: LlmClient) -> Iterator[dict[str, list[tuple[int, int]]]]:
    """Collect the tokens (in, out) of every call that is made meanwhile, by purpose, counted from its texts."""
    calls: dict[str, list[tuple[int, int]]] = {}
    texts: list[tuple[Any, ...]] = []
    parse = client.parse

    async def recording(purpose: str, model: str, system: str, user: str, schema: Any, **more: Any) -> Any:
        reply, call = await parse(purpose, model, system, user, schema, **more)
        texts.append((purpose, system, schema, user, reply))
        return reply, call

    client.parse = recording  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        client.parse = parse  # type: ignore[method-assign]
        for purpose, system, schema, user, reply in texts:  # afterwards: counting takes time
            used = tokens.call([system], schema, user, reply)
            calls.setdefault(purpose, []).append((used.input, used.output))


async def measure(settings: Settings, sandbox_url: str, steps: Sequence[str], *, profile: bool) -> list[dict[str, Any]]:
    """Run the steps one after another with common resources."""
    async with resources.opened(settings) as opened:
        runner = Steps(opened, sandbox_url, profile=profile)
        return [await runner.run(step) for step in steps]


def main() -> None:
    """Measure and print one JSON list."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network_product", description=__doc__)
    parser.add_argument("steps", nargs="+", metavar="STEP")
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--sandbox-url", required=True)
    parser.add_argument("--time-scale", type=float, default=60.0)
    parser.add_argument("--profile", action="store_true", help="sample the CPU by component, which costs some")
    given = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    settings = Settings(database_url=given.database_url).for_sandbox(given.sandbox_url, given.time_scale)
    print(json.dumps(asyncio.run(measure(settings, given.sandbox_url, given.steps, profile=given.profile))))


if __name__ == "__main__":
    main()
