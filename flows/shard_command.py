"""The command behind `python -m flows.evaluate_orgs`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from uuid import UUID

import typer

from flows.command_line import (
    SANDBOX_TIME_SCALE,
    AsJson,
    RunDate,
    Sandbox,
    SandboxUrl,
    TimeScale,
    TriggeredBy,
    checked_day,
    next_steps,
    refusing,
    run_command,
    run_flow,
    show,
    vendors_of,
)
from flows.preparation import EVERYBODY, Subject, prepare, world_of_orgs
from visibility.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.shard_summary import ShardSummary


def evaluate_orgs_command() -> NoReturn:
    """Entry point of `python -m flows.evaluate_orgs`."""
    run_command(evaluate_shard, "python -m flows.evaluate_orgs")


def evaluate_shard(
    context: typer.Context,
    org_id: Annotated[
        list[UUID] | None, typer.Option(help="An org that is in the database; repeat it for each.")
    ] = None,
    org_file: Annotated[
        Path | None, typer.Option(help="YAML file with orgs (see examples/); it is loaded, all of them are evaluated.")
    ] = None,
    sandbox: Sandbox = False,
    triggered_by: TriggeredBy = "manual",
    run_date: RunDate = None,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate several organisations at the same time in this process; their questions share vendor jobs.

    Run it again at any time: what is done is kept, only the rest is asked.

    Exit status: 0 completed; 1 too many orgs failed (the reason is printed); 2 the input or a setting is wrong and
    nothing was asked; 130 stopped with Ctrl-C.
    """
    found: list[UUID] = []
    with refusing(as_json):
        if not org_id and org_file is None:
            raise InvalidInput("Name organisations: --org-id UUID, as often as needed, or --org-file FILE.yaml.")
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        day = checked_day(run_date)
        find = partial(_find, org_file, org_id or (), found)
        job = prepare(find, vendors, file=org_file, shares_jobs=True, patient=True)
    summary = run_flow(job, partial(_flow, found, day, triggered_by), as_json)
    show(summary, partial(_page, job.api_url), as_json)


def _find(org_file: Path | None, org_ids: Sequence[UUID], found: list[UUID], session: Session) -> Subject:
    """Add the ids of the orgs to `found`, all of which exist."""
    from visibility.store.load import load_file
    from visibility.store.orgs import load_org

    found.extend(org_ids)
    if org_file is not None:
        loaded = load_file(session, org_file).org_ids
        if not loaded:
            raise InvalidInput(f"{org_file} holds no organisation. Add one under `orgs`.")
        found.extend(loaded)
    return Subject(EVERYBODY, world_of_orgs([load_org(session, one) for one in dict.fromkeys(found)]))


def _flow(org_ids: list[UUID], run_date: date, triggered_by: str) -> Callable[[], Awaitable[ShardSummary]]:
    from flows.evaluate_orgs import evaluate_orgs

    return lambda: evaluate_orgs(org_ids, run_date, triggered_by)


def _page(api_url: str, summary: ShardSummary) -> None:
    from visibility.shard_display import print_shard_summary

    rows = f"select * from evaluation_batches where scope = 'org' and run_date = '{summary.run_date}'"
    print_shard_summary(summary, next_steps(summary.flow_run_id, api_url, {"rows": rows}))
