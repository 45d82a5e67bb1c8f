"""What the nights of organisations and networks share: where they run, and the one alert about who was not done."""

from __future__ import annotations

from prefect.logging import get_run_logger

from flows.guards import Problems
from flows.pool_runs import check_deployment, is_served
from tasks.resources import current
from visibility.display import printable
from visibility.domain import Spawn
from visibility.errors import BatchFailed
from visibility.night import NightSummary


async def chosen_spawn(spawn: Spawn | None, deployment: str, *, anything: bool) -> Spawn:
    """Return where the flows of a night run: as given, else on the pool where a worker waits for them, else here.

    Here keys are needed where there is `anything` to do: raises ConfigurationError for one that is missing, and for a
    deployment that was asked for and does not exist. A simulated night runs here: a worker might ask real vendors.
    """
    settings = current().settings
    if spawn == "deployment":
        await check_deployment(deployment)
    elif spawn is None:
        spawn, why = "subflow", f"no worker is online for the deployment {deployment}"
        if settings.sandbox:
            why = "it is simulated, and a worker may not be"
        elif await is_served(deployment):
            spawn, why = "deployment", f"a worker is online for the deployment {deployment}"
        where = "in this process" if spawn == "subflow" else "on the work pool"
        get_run_logger().info("This night runs %s: %s.", where, why)
    if spawn == "subflow" and anything:
        settings.require_keys()
    return spawn


def tell_of_pool(summary: NightSummary, problems: Problems) -> None:
    """Put into the night's alert who was not done on the pool; flows inside this one have left their problems."""
    if summary.spawn == "subflow":
        return
    for one in summary.failed:
        theirs = Problems()
        theirs.add(BatchFailed(one.reason))
        problems.take_over(printable(one.name), theirs)
