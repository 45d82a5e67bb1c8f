"""What both re-evaluations do: find what older versions have read, read it again for every org, compare."""

from __future__ import annotations

from datetime import date
from time import monotonic
from typing import Literal
from uuid import UUID

from prefect.logging import get_run_logger

from flows.guards import Problems
from flows.side_by_side import side_by_side
from tasks.reevaluate import compare_versions, open_replay, reevaluate_org
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

    async def one(org: EvaluatedOrg) -> EvaluationCounts:
        try:
            return await reevaluate_org(replay.window, org.org_id)
        except Exception as error:
            own = Problems()
            own.add(error)
            problems.take_over(org.name, own)
            get_run_logger().error("%s: %s", org.name, error if isinstance(error, VisibilityError) else repr(error))
            return EvaluationCounts(0, 0, 0, 0, failed=unread(error, org.outdated))

    counts = await side_by_side([org for org in replay.orgs if org.outdated], one)
    return await compare_versions(replay, total(counts).failed, monotonic() - begun)
