"""What both re-evaluations do: find what older versions have read, read it again for every org, compare."""

from __future__ import annotations

import asyncio
from datetime import date
from time import monotonic
from typing import Literal
from uuid import UUID

from prefect.logging import get_run_logger

from flows.guards import Problems
from tasks.reevaluate import compare_versions, open_replay, reevaluate_org
from tasks.resources import current
from visibility.arrivals import total
from visibility.domain import EvaluationCounts
from visibility.errors import VisibilityError
from visibility.reevaluation import ReevaluationSummary, unread
from visibility.store.reevaluation import EvaluatedOrg


async def reevaluate(
    scope: Literal["org", "network"], owner_id: UUID, since: date | None, until: date | None, problems: Problems
) -> ReevaluationSummary:
    """Read again whatever an older version has read in the window; what stops one org leaves the others alone."""
    begun = monotonic()
    replay = await open_replay(scope, owner_id, since, until)
    limit = asyncio.Semaphore(current().settings.orgs_in_flight)

    async def one(org: EvaluatedOrg) -> EvaluationCounts:
        async with limit:
            try:
                return await reevaluate_org(replay.window, org.org_id)
            except Exception as error:
                own = Problems()
                own.add(error)
                problems.take_over(org.name, own)
                get_run_logger().error("%s: %s", org.name, error if isinstance(error, VisibilityError) else repr(error))
                return EvaluationCounts(0, 0, 0, 0, failed=unread(error, org.outdated))

    counts = await asyncio.gather(*(one(org) for org in replay.orgs if org.outdated))
    return await compare_versions(replay, total(counts).failed, monotonic() - begun)
