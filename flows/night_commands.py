"""The commands behind `python -m flows.daily_evaluations` and `python -m flows.daily_networks`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeAlias

import typer

from flows.command_line import (
    SANDBOX_TIME_SCALE,
    AsJson,
    Sandbox,
    SandboxUrl,
    TimeScale,
    checked_day,
    day_option,
    next_steps,
    refusing,
    run_command,
    run_flow,
    show,
    vendors_of,
)
from flows.preparation import EVERYBODY, Subject, Vendors, Work, World, look, prepare, world_of_network, world_of_orgs
from visibility.domain import Spawn

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.night import NightSummary
    from visibility.night_plan import NightPlan
    from visibility.settings import Settings

NightOf = Literal["orgs", "networks"]

Day: TypeAlias = Annotated[
    date | None, day_option("UTC date of the night, also a past one: its weekday says who is scheduled; default today.")
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done, what it costs whom and how long it takes.")
]
Spawning: TypeAlias = Annotated[
    Spawn | None,
    typer.Option(help="In this process, or as runs on the work pool; by default there if a worker is online."),
]


def daily_evaluations_command() -> NoReturn:
    """Entry point of `python -m flows.daily_evaluations`."""
    run_command(evaluate_the_day, "python -m flows.daily_evaluations")


def daily_networks_command() -> NoReturn:
    """Entry point of `python -m flows.daily_networks`."""
    run_command(ask_for_networks_of_the_day, "python -m flows.daily_networks")


def evaluate_the_day(
    context: typer.Context,
    dry_run: DryRun = False,
    spawn: Spawning = None,
    sandbox: Sandbox = False,
    run_date: Day = None,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate every organisation that is scheduled on the weekday of a date.

    Run it again at any time, also for a day that was missed: what is done is kept, only the rest is asked.
    With --dry-run it needs no key and no Prefect, and writes nothing.

    Exit status: 0 the night is done, also when nobody was scheduled; 1 too many organisations could not be done (the
    reason is printed); 2 the input or a setting is wrong and nothing was started; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        day = checked_day(run_date)
    _night("orgs", day, spawn, vendors, dry_run, as_json)


def ask_for_networks_of_the_day(
    context: typer.Context,
    dry_run: DryRun = False,
    spawn: Spawning = None,
    sandbox: Sandbox = False,
    run_date: Day = None,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask for every network that is scheduled on the weekday of a date, and evaluate all of their members.

    Run it again at any time, also for a day that was missed: what is done is kept, only the rest is asked.
    With --dry-run it needs no key and no Prefect, and writes nothing.

    Exit status: 0 the night is done, also when nothing was scheduled; 1 too many networks could not be done (the
    reason is printed); 2 the input or a setting is wrong and nothing was started; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        day = checked_day(run_date)
    _night("networks", day, spawn, vendors, dry_run, as_json)


def _night(what: NightOf, day: date, spawn: Spawn | None, vendors: Vendors, dry_run: bool, as_json: bool) -> None:
    with refusing(as_json):
        if dry_run:
            show(look(partial(_plan, what, day, vendors), vendors), _plan_page, as_json)
            return
        # on the pool the runs need keys, not this process; the flow checks them once it knows where they are
        work: Work = "asks" if spawn == "subflow" else "looks"
        find = partial(_find, what, day, vendors.sandbox)
        job = prepare(find, vendors, work=work, shares_jobs=True, patient=True)
    summary = run_flow(job, partial(_flow, what, day, spawn), as_json)
    show(summary, partial(_page, job.api_url), as_json)


def _plan(what: NightOf, day: date, vendors: Vendors, session: Session, settings: Settings) -> NightPlan:
    from visibility.night_plan import plan_night

    scale = vendors.time_scale if vendors.sandbox else 1.0
    return plan_night(session, what, day, settings, cores=os.cpu_count() or 1, time_scale=scale)


def _find(what: NightOf, day: date, sandbox: bool, session: Session) -> Subject:
    return Subject(EVERYBODY, _world(what, day, session) if sandbox else {})


def _world(what: NightOf, day: date, session: Session) -> World:
    """Return what a sandbox is told of everybody who is scheduled."""
    from visibility.store.networks import load_networks
    from visibility.store.orgs import load_orgs
    from visibility.store.schedules import scheduled_ids

    if what == "orgs":
        return world_of_orgs(load_orgs(session, scheduled_ids(session, "org", day)))
    networks = load_networks(session, scheduled_ids(session, "network", day))
    worlds = [world_of_network(session, network) for network in networks]
    return {"networks": [told for world in worlds for told in world.get("networks", ())]}


def _flow(what: NightOf, day: date, spawn: Spawn | None) -> Callable[[], Awaitable[NightSummary]]:
    if what == "orgs":
        from flows.daily_evaluations import daily_evaluations as night
    else:
        from flows.daily_networks import daily_networks as night
    return lambda: night(day, spawn)


def _plan_page(plan: NightPlan) -> None:
    from visibility.night_plan_display import print_plan

    print_plan(plan)


def _page(api_url: str, summary: NightSummary) -> None:
    from visibility.night_display import print_night
    from visibility.night_plan import SCOPES

    rows = f"scope = '{SCOPES[summary.what]}' and run_date = '{summary.run_date}'"
    queries = {"rows": f"select * from evaluation_batches where {rows}"}
    print_night(summary, next_steps(summary.flow_run_id, api_url, queries))
