"""The commands behind `python -m flows.org_reevaluation` and `python -m flows.network_reevaluation`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias
from uuid import UUID

import typer

from flows.command_line import (
    SANDBOX_TIME_SCALE,
    AsJson,
    Sandbox,
    SandboxUrl,
    TimeScale,
    day_option,
    next_steps,
    refusing,
    run_command,
    run_flow,
    show,
    vendors_of,
)
from flows.preparation import Job, Subject, prepare, world_of_network, world_of_orgs
from visibility.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.reevaluation import ReevaluationSummary

Since: TypeAlias = Annotated[
    date | None, day_option("UTC date of the oldest batch that is read again; by default 30 days before the newest.")
]
Until: TypeAlias = Annotated[
    date | None, day_option("UTC date of the newest batch that is read again; by default today.")
]


def org_reevaluation_command() -> NoReturn:
    """Entry point of `python -m flows.org_reevaluation`."""
    run_command(reevaluate_org, "python -m flows.org_reevaluation")


def network_reevaluation_command() -> NoReturn:
    """Entry point of `python -m flows.network_reevaluation`."""
    run_command(reevaluate_network, "python -m flows.network_reevaluation")


def reevaluate_org(
    context: typer.Context,
    org_id: Annotated[UUID | None, typer.Option(help="The org whose stored answers are read again.")] = None,
    since: Since = None,
    until: Until = None,
    sandbox: Sandbox = False,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Read an org's stored answers again with the current extractor; asks no assistant, charges nobody.

    The old evaluations stay beside the new ones; views show the newest. Run it again at any time.

    Exit status: 0 completed, also when nothing was older than the current extractor; 1 it failed (the reason is
    printed); 2 the input or a setting is wrong and nothing was read; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        if org_id is None:
            raise InvalidInput("Name the organisation: --org-id UUID.")
        _check_period(since, until)
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        job = prepare(partial(_find_org, org_id), vendors, work="reads", patient=True)
    summary = run_flow(job, partial(_org_reevaluation, job, since, until), as_json)
    show(summary, partial(_page, job.api_url), as_json)


def reevaluate_network(
    context: typer.Context,
    network_id: Annotated[UUID | None, typer.Option(help="The network whose stored answers are read again.")] = None,
    since: Since = None,
    until: Until = None,
    sandbox: Sandbox = False,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Read a network's stored answers again with the current extractor, for every org that has evaluations of them.

    Asks no assistant, charges nobody. The old evaluations stay beside the new ones; views show the newest.

    Exit status: 0 completed, also when nothing was older than the current extractor; 1 it failed (the reason is
    printed); 2 the input or a setting is wrong and nothing was read; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        if network_id is None:
            raise InvalidInput("Name the network: --network-id UUID.")
        _check_period(since, until)
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        job = prepare(partial(_find_network, network_id), vendors, work="reads", patient=True)
    summary = run_flow(job, partial(_network_reevaluation, job, since, until), as_json)
    show(summary, partial(_page, job.api_url), as_json)


def _check_period(since: date | None, until: date | None) -> None:
    if since is not None and until is not None and since > until:
        raise InvalidInput(f"--since {since} is after --until {until}.")


def _find_org(org_id: UUID, session: Session) -> Subject:
    from visibility.store.orgs import load_org

    return Subject(org_id, world_of_orgs([load_org(session, org_id)]))


def _find_network(network_id: UUID, session: Session) -> Subject:
    from visibility.store.networks import load_network

    return Subject(network_id, world_of_network(session, load_network(session, network_id)))


def _org_reevaluation(job: Job, since: date | None, until: date | None) -> Callable[[], Awaitable[ReevaluationSummary]]:
    from flows.org_reevaluation import org_reevaluation

    return lambda: org_reevaluation(job.subject_id, since, until)


def _network_reevaluation(
    job: Job, since: date | None, until: date | None
) -> Callable[[], Awaitable[ReevaluationSummary]]:
    from flows.network_reevaluation import network_reevaluation

    return lambda: network_reevaluation(job.subject_id, since, until)


def _page(api_url: str, summary: ReevaluationSummary) -> None:
    from visibility.reevaluation_display import print_reevaluation

    print_reevaluation(summary, next_steps(summary.flow_run_id, api_url, {}))
