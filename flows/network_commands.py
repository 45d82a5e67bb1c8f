"""The commands behind `python -m flows.network_questions` and `python -m flows.network_org_missing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
    UserId,
    checked_day,
    day_option,
    next_steps,
    refusing,
    run_command,
    run_flow,
    show,
    vendors_of,
)
from flows.preparation import Job, Subject, chosen, prepare, world_of_network
from visibility.domain import Spawn
from visibility.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.network_summary import NetworkOrgSummary, NetworkSummary


def network_questions_command() -> NoReturn:
    """Entry point of `python -m flows.network_questions`."""
    run_command(ask_for_network, "python -m flows.network_questions")


def network_org_missing_command() -> NoReturn:
    """Entry point of `python -m flows.network_org_missing`."""
    run_command(evaluate_member, "python -m flows.network_org_missing")


def ask_for_network(
    context: typer.Context,
    network_file: Annotated[
        Path | None, typer.Option(help="YAML file with the network (see examples/); it is loaded, then evaluated.")
    ] = None,
    network_id: Annotated[
        UUID | None, typer.Option(help="A network that is in the database (or one of the file's).")
    ] = None,
    spawn: Annotated[
        Spawn, typer.Option(help="Evaluate the members in this process, or as runs of their deployment on a worker.")
    ] = "subflow",
    sandbox: Sandbox = False,
    triggered_by: TriggeredBy = "manual",
    user_id: UserId = None,
    run_date: RunDate = None,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a network: ask its questions once, read the answers for every member, charge the partner, show all.

    Run it again at any time: what is done is kept, only the rest is asked and read.

    Exit status: 0 the batch is completed; 1 it failed (the reason is printed); 2 the input or a setting is wrong
    and nothing was asked; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        if network_file is None and network_id is None:
            raise InvalidInput("Name a network: --network-file FILE.yaml or --network-id UUID.")
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        day = checked_day(run_date)
        job = prepare(partial(_find_network, network_file, network_id), vendors, file=network_file)
    summary = run_flow(job, partial(_network_questions, job, triggered_by, user_id, day, spawn), as_json)
    show(summary, partial(_network_page, job.api_url), as_json)


def evaluate_member(
    context: typer.Context,
    org_id: Annotated[UUID | None, typer.Option(help="The org; it is a member of a network.")] = None,
    network_id: Annotated[UUID | None, typer.Option(help="Its network; by default the one it is in.")] = None,
    since: Annotated[
        date | None, day_option("UTC date of the oldest batch; by default the later of joining and 30 days ago.")
    ] = None,
    sandbox: Sandbox = False,
    triggered_by: TriggeredBy = "manual",
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Read for one org what its network has asked and nobody has read for it yet; asks no assistant.

    Run it again at any time: what is read stays, and is charged once.

    Exit status: 0 everything is read, also when nothing was missing; 1 it failed (the reason is printed); 2 the
    input or a setting is wrong and nothing was read; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        if org_id is None:
            raise InvalidInput("Name the organisation: --org-id UUID.")
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        job = prepare(partial(_find_member, org_id, network_id), vendors, work="reads")
    summary = run_flow(job, partial(_network_org_missing, job, network_id, since, triggered_by), as_json)
    show(summary, partial(_member_page, job.api_url), as_json)


def _find_network(network_file: Path | None, network_id: UUID | None, session: Session) -> Subject:
    from visibility.store.load import load_file
    from visibility.store.networks import load_network

    if network_file is not None:
        found = load_file(session, network_file)
        hint = f"For its organisations: python -m flows.org_evaluation --org-file {network_file}."
        hint = hint if found.org_ids else "Add one under `networks`."
        network_id = chosen(found.network_ids, found.network_names, network_id, network_file, "network", hint)
    assert network_id is not None
    return Subject(network_id, world_of_network(session, load_network(session, network_id)))


def _find_member(org_id: UUID, network_id: UUID | None, session: Session) -> Subject:
    from visibility.store.networks import load_member, load_network

    _, its_network = load_member(session, org_id, network_id)
    return Subject(org_id, world_of_network(session, load_network(session, its_network)))


def _network_questions(
    job: Job, triggered_by: str, user_id: str | None, run_date: date, spawn: Spawn
) -> Callable[[], Awaitable[NetworkSummary]]:
    from flows.network_questions import network_questions

    return lambda: network_questions(job.subject_id, triggered_by, user_id, run_date, spawn)


def _network_org_missing(
    job: Job, network_id: UUID | None, since: date | None, triggered_by: str
) -> Callable[[], Awaitable[NetworkOrgSummary]]:
    from flows.network_org_missing import network_org_missing

    return lambda: network_org_missing(job.subject_id, network_id, since, triggered_by)


def _network_page(api_url: str, summary: NetworkSummary) -> None:
    from visibility.network_display import print_network_summary

    again = f"python -m flows.network_org_missing{' --sandbox' if summary.sandbox else ''} --org-id …"
    rows = f"select * from network_org_evals where batch_id = '{summary.batch_id}'"
    queries = {"rows": rows, "one member again": again}
    print_network_summary(summary, next_steps(summary.flow_run_id, api_url, queries))


def _member_page(api_url: str, summary: NetworkOrgSummary) -> None:
    from visibility.network_display import print_network_org_summary

    rows = f"select * from network_org_evals where org_id = '{summary.org_id}' and run_date >= '{summary.since}'"
    print_network_org_summary(summary, next_steps(summary.flow_run_id, api_url, {"rows": rows}))
