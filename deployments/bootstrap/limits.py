"""The limits that hold across machines, from BRIGHTDATA_MAX_RUNNING_JOBS and BRIGHTDATA_SUBMISSIONS_PER_MINUTE."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from deployments.bootstrap.outcome import Outcome, put_in_place
from tasks.limits import wanted_limits
from visibility.settings import BrightDataSettings


async def ensure_limits(client: PrefectClient, settings: BrightDataSettings, *, check: bool) -> list[Outcome]:
    """Create the global concurrency limits or bring them up to date."""
    return [
        await _ensure(client, name, limit, per_second, check)
        for name, (limit, per_second) in wanted_limits(settings).items()
    ]


async def _ensure(client: PrefectClient, name: str, limit: int, per_second: float, check: bool) -> Outcome:
    try:
        found = await client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        differs = None
    else:
        differs = (found.limit, found.slot_decay_per_second) != (limit, per_second) or not found.active

    def upsert() -> Any:
        return client.upsert_global_concurrency_limit_by_name(name, limit, per_second)

    rate = f", {per_second * 60:g} more a minute" if per_second else ""
    return await put_in_place(
        "limit", name, differs=differs, create=upsert, update=upsert, check=check, why=f"{limit} at once{rate}"
    )
