"""The command behind `python -m flows.org_evaluation`."""

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
    next_steps,
    refusing,
    run_command,
    run_flow,
    show,
    vendors_of,
)
from flows.preparation import Job, Subject, chosen, prepare, world_of_orgs
from visibility.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.summary import OrgEvaluationSummary


def org_evaluation_command() -> NoReturn:
    """Entry point of `python -m flows.org_evaluation`."""
    run_command(evaluate_org, "python -m flows.org_evaluation")


def evaluate_org(
    context: typer.Context,
    org_file: Annotated[
        Path | None, typer.Option(help="YAML file with the org (see examples/); it is loaded, then evaluated.")
    ] = None,
    org_id: Annotated[UUID | None, typer.Option(help="An org that is in the database (or one of the file's).")] = None,
    sandbox: Sandbox = False,
    triggered_by: TriggeredBy = "manual",
    user_id: UserId = None,
    run_date: RunDate = None,
    time_scale: TimeScale = SANDBOX_TIME_SCALE,
    sandbox_url: SandboxUrl = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate one organisation: ask its questions, read the answers, charge the payer, show the result.

    Run it again at any time: what is done is kept, only the rest is asked.

    Exit status: 0 the batch is completed; 1 it failed (the reason is printed); 2 the input or a setting is wrong
    and nothing was asked; 130 stopped with Ctrl-C.
    """
    with refusing(as_json):
        if org_file is None and org_id is None:
            raise InvalidInput("Name an organisation: --org-file FILE.yaml or --org-id UUID.")
        vendors = vendors_of(context, sandbox, time_scale, sandbox_url)
        day = checked_day(run_date)
        job = prepare(partial(_find, org_file, org_id), vendors, file=org_file)
    summary = run_flow(job, partial(_flow, job, triggered_by, user_id, day), as_json)
    show(summary, partial(_page, job.api_url), as_json)


def _find(org_file: Path | None, org_id: UUID | None, session: Session) -> Subject:
    from visibility.store.load import load_file
    from visibility.store.orgs import load_org

    if org_file is not None:
        found = load_file(session, org_file)
        hint = f"For its network: python -m flows.network_questions --network-file {org_file}."
        hint = hint if found.network_ids else "Add one under `orgs`."
        org_id = chosen(found.org_ids, found.org_names, org_id, org_file, "organisation", hint)
    assert org_id is not None
    return Subject(org_id, world_of_orgs([load_org(session, org_id)]))


def _flow(
    job: Job, triggered_by: str, user_id: str | None, run_date: date
) -> Callable[[], Awaitable[OrgEvaluationSummary]]:
    from flows.org_evaluation import org_evaluation

    return lambda: org_evaluation(job.subject_id, triggered_by=triggered_by, user_id=user_id, run_date=run_date)


def _page(api_url: str, summary: OrgEvaluationSummary) -> None:
    from visibility.display import print_summary

    rows = f"select * from org_evals join question_runs using (question_run_id) where batch_id = '{summary.batch_id}'"
    print_summary(summary, next_steps(summary.flow_run_id, api_url, {"rows": rows}))
