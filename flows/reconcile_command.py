"""The command behind `python -m flows.reconcile`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flows.command_line import (
    SANDBOX_TIME_SCALE,
    AsJson,
    Sandbox,
    SandboxUrl,
    TimeScale,
    next_steps,
    refusing,
    run_command,
    run_flow,
    show,
    vendors_of,
)
from flows.preparation import EVERYBODY, Subject, World, prepare, world_of_network, world_of_orgs

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.reconcile import ReconcileSummary


def reconcile_command() -> NoReturn:
    """Entry point of `python -m flows.reconcile`."""
    run_command(finish_what_was_left, "python -m flows.reconcile")


def finish_what_was_left(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    sandbox: Sandbox = False,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Finish what flows that died have left: batches, vendor jobs, charges, holds.

    Run it at any time, also twice at once: what a live flow works on is left alone, nothing is bought or charged twice.

    Exit status: 0 all of it is done, also when nothing was left; 1 something could not be done (the reason is
    printed); 2 a setting is wrong and nothing was done; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        job = prepare(partial(_find, sandbox), vendors, work="looks" if dry_run else "asks", shares_jobs=True)
    summary = run_flow(job, partial(_flow, dry_run), as_json)
    show(summary, partial(_page, job.api_url), as_json)


def _find(sandbox: bool, session: Session) -> Subject:
    """Tell a sandbox of those whose batches will be resumed."""
    return Subject(EVERYBODY, _world(session) if sandbox else {})


def _world(session: Session) -> World:
    from visibility.reconcile import look
    from visibility.settings import read_settings
    from visibility.store.networks import load_network
    from visibility.store.orgs import load_org

    since = datetime.now(UTC) - timedelta(days=read_settings().reconcile_days)
    world: World = {"orgs": [], "networks": []}
    for batch in look(session, since, sandbox=True).batches:
        owner_id = batch.key.owner_id
        if batch.key.scope == "org":
            theirs = world_of_orgs([load_org(session, owner_id)])
        else:
            theirs = world_of_network(session, load_network(session, owner_id))
        for kind, known in theirs.items():
            world[kind] += known
    return world if any(world.values()) else {}


def _flow(dry_run: bool) -> Callable[[], Awaitable[ReconcileSummary]]:
    from flows.reconcile import reconcile

    return lambda: reconcile(dry_run)


def _page(api_url: str, summary: ReconcileSummary) -> None:
    from visibility.reconcile_display import print_reconcile

    print_reconcile(summary, next_steps(summary.flow_run_id, api_url, {}))
