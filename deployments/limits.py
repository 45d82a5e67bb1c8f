"""Create or update the limits that hold across machines: `python -m deployments.limits`.

Idempotent: run it after every change of BRIGHTDATA_MAX_RUNNING_JOBS or BRIGHTDATA_SUBMISSIONS_PER_MINUTE.
"""

from __future__ import annotations

import argparse
import asyncio

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.local import ensure_prefect_server
from tasks.limits import wanted_limits
from visibility.errors import ConfigurationError
from visibility.settings import BrightDataSettings, read_settings


async def create_limits(settings: BrightDataSettings) -> list[str]:
    """Create the limits at the Prefect server or bring them up to date; return one line about each."""
    lines = []
    async with get_client() as client:
        for name, (limit, per_second) in wanted_limits(settings).items():
            await client.upsert_global_concurrency_limit_by_name(name, limit, per_second)
            rate = f", {per_second * 60:g} more a minute" if per_second else ""
            lines.append(f"{name}: {limit} at once{rate}")
    return lines


def main() -> None:
    """Print the limits as they are afterwards; without a configured Prefect API those of the local server."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    try:
        settings = read_settings()
        api_url = ensure_prefect_server(settings.data_folder, database_url=settings.database_url)
    except ConfigurationError as error:
        raise SystemExit(error.message) from None
    with temporary_settings({PREFECT_API_URL: api_url}):
        for line in asyncio.run(create_limits(settings.brightdata)):
            print(line)


if __name__ == "__main__":
    main()
