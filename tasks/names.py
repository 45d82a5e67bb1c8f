"""The names an org goes by, from the LLM once a day per org."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger

from blocks.aws import is_from_aws
from tasks.resources import current
from visibility.domain import LlmCall, OrgProfile
from visibility.errors import UnusableReply, VisibilityError
from visibility.names import name_variations, org_key
from visibility.names_core import core_variations
from visibility.store.findings import save_calls


def by_org_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key: the org's name and websites and the prompt's version, hashed."""
    return f"name-variations-{parameters['key']}"


@task(
    name="name variations",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=by_org_key),
    cache_expiration=timedelta(hours=24),
    persist_result=True,
    result_serializer="json",
)
async def find_name_variations(
    key: str, name: str, websites: tuple[str, ...], batch_id: UUID | None, org_id: UUID
) -> list[str]:
    """Ask the LLM for realistic spellings of the name; cached for 24 h by `key`."""
    resources = current()
    assert resources.llm is not None
    try:
        names, call = await name_variations(resources.llm, name, websites)
    except UnusableReply as error:
        await _record(error.call, batch_id, org_id)
        raise
    await _record(call, batch_id, org_id)
    return names


async def _record(call: LlmCall, batch_id: UUID | None, org_id: UUID) -> None:
    await current().database.insist(save_calls, [replace(call, batch_id=batch_id, org_id=org_id)])


async def _cached_or_asked(
    key: str, name: str, websites: tuple[str, ...], batch_id: UUID | None, org_id: UUID
) -> list[str]:
    """Return the names; a storage that finds them and then cannot give them, so that nobody was asked, is passed by.

    One that finds nothing because it cannot be reached, or cannot take what was found, Prefect passes by itself.
    """
    try:
        return await find_name_variations(key, name, websites, batch_id, org_id)
    except Exception as error:
        if not is_from_aws(error):
            raise
    ask = find_name_variations.with_options(refresh_cache=True)
    return await ask(key, name, websites, batch_id, org_id)


class Named(Protocol):
    """An org as far as its names go."""

    @property
    def org_id(self) -> UUID: ...

    @property
    def name(self) -> str: ...

    @property
    def websites(self) -> tuple[str, ...]: ...


async def load_profile(org: Named, batch_id: UUID | None) -> OrgProfile:
    """Return whom the answers are read for; without the LLM the deterministic names serve, uncached.

    `batch_id`: the batch whose costs a look-up belongs to.
    """
    names = core_variations(org.name, org.websites)
    resources = current()
    if resources.llm is not None:
        # what the sandbox makes up must not serve a real evaluation
        llm = f"{'sandbox ' if resources.settings.sandbox else ''}{resources.settings.llm.names_model}"
        key = org_key(org.name, org.websites, llm)
        try:
            names = await _cached_or_asked(key, org.name, org.websites, batch_id, org.org_id)
        except VisibilityError as error:
            get_run_logger().warning("no name variations from the LLM (%s); the deterministic ones serve", error)
    return OrgProfile(org.org_id, org.name, tuple(names), org.websites)
