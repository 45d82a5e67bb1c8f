"""The commands behind `python -m flows.<name>`: check the input, find or start what is needed, run, show.

Heavy libraries are imported where they are needed: Prefect alone takes 1.5 s, which help and refusals do not wait for.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from uuid import UUID

import typer

from visibility.errors import BatchFailed, ConfigurationError, InvalidInput, VisibilityError

if TYPE_CHECKING:
    from visibility.domain import Org
    from visibility.settings import Settings
    from visibility.store.load import LoadedFile
    from visibility.summary import OrgEvaluationSummary

SANDBOX_TIME_SCALE = 60.0
COMPLETED, FAILED, REFUSED, STOPPED = 0, 1, 2, 130


def org_evaluation_command() -> NoReturn:
    """Entry point of `python -m flows.org_evaluation`."""
    run_command(evaluate_org, "python -m flows.org_evaluation")


def run_command(command: Callable[..., None], name: str) -> NoReturn:
    """Run one command with this process's arguments; leaves with its exit status.

    Without rich: typer would draw a box around a usage error, and import 0.2 s for it.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may know fewer signs than a name
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    app(prog_name=name)
    raise SystemExit(COMPLETED)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-11-23.") from None


def evaluate_org(
    context: typer.Context,
    org_file: Annotated[
        Path | None, typer.Option(help="YAML file with the org (see examples/); it is loaded, then evaluated.")
    ] = None,
    org_id: Annotated[UUID | None, typer.Option(help="An org that is in the database (or one of the file's).")] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Ask simulated vendors; no key is needed, results say so.")
    ] = False,
    triggered_by: Annotated[str, typer.Option(help="Who or what asks for the evaluation.")] = "manual",
    user_id: Annotated[str | None, typer.Option(help="The user on whose behalf it runs.")] = None,
    run_date: Annotated[
        date | None, typer.Option(parser=_day, metavar="YYYY-MM-DD", help="UTC date of the batch; by default today.")
    ] = None,
    time_scale: Annotated[
        float, typer.Option(min=0.1, help="Sandbox only: how many times faster than real vendors.")
    ] = SANDBOX_TIME_SCALE,
    sandbox_url: Annotated[
        str | None, typer.Option(envvar="SANDBOX_URL", help="With --sandbox: use the sandbox that runs there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
) -> None:
    """Evaluate one organisation: ask its questions, read the answers, charge the payer, show the result.

    Run it again at any time: what is done is kept, only the rest is asked.

    Exit status: 0 the batch is completed; 1 it failed (the reason is printed); 2 the input or a setting is wrong
    and nothing was asked; 130 stopped with Ctrl-C.
    """
    try:
        _check_options(context, org_file, org_id, sandbox)
        day = _checked_day(run_date)
        job = _prepare(org_file, org_id, sandbox, time_scale, sandbox_url)
    except VisibilityError as error:
        _stop(error, REFUSED, as_json)
    except KeyboardInterrupt:
        _stop_on_request("Stopped before anything was asked.")
    try:
        summary = _run(job, triggered_by, user_id, day)
    except VisibilityError as error:
        _stop(error, REFUSED if isinstance(error, (InvalidInput, ConfigurationError)) else FAILED, as_json)
    except KeyboardInterrupt:
        _stop_on_request("Stopped. What was bought is kept; the same command continues where it stopped.")
    _show(summary, job.api_url, as_json)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be evaluated with which settings, and the Prefect API that the run reports to."""

    org_id: UUID
    settings: Settings
    api_url: str


def _check_options(context: typer.Context, org_file: Path | None, org_id: UUID | None, sandbox: bool) -> None:
    if org_file is None and org_id is None:
        raise InvalidInput("Name an organisation: --org-file FILE.yaml or --org-id UUID.")
    source = context.get_parameter_source("sandbox_url")
    if not sandbox and source is not None and source.name == "COMMANDLINE":
        raise InvalidInput("--sandbox-url needs --sandbox; without it the real vendors would be asked.")


def _checked_day(run_date: date | None) -> date:
    from visibility.domain import check_run_date

    today = datetime.now(UTC).date()
    return check_run_date(run_date or today, today)


def _prepare(
    org_file: Path | None, org_id: UUID | None, sandbox: bool, time_scale: float, sandbox_url: str | None
) -> Job:
    """Check everything that can be wrong, cheap things first, then start what does not run yet."""
    settings = _settings(sandbox, sandbox_url)
    org = _find_org(settings, org_file, org_id)
    settings = _connect_vendors(settings, org, time_scale, sandbox_url) if sandbox else settings
    return Job(org.org_id, settings, _connect_prefect(settings))


def _settings(sandbox: bool, sandbox_url: str | None) -> Settings:
    """Read the settings, with the registered blocks when they are named; check keys, models and sandbox."""
    from visibility.settings import read_settings

    settings = read_settings()
    if sandbox:
        _check_llm(settings.for_sandbox("", 1))
        if sandbox_url is not None:
            _check_sandbox(sandbox_url)
        return settings
    if settings.blocks:
        settings = _settings_from_blocks(settings)
    settings.require_keys()
    _check_llm(settings)
    return settings


def _check_llm(settings: Settings) -> None:
    from visibility.llm.client import LlmClient

    if settings.llm.configured:
        LlmClient(settings.llm)


def _check_sandbox(sandbox_url: str) -> None:
    from deployments.local.network import answers

    if not answers(f"{sandbox_url}/_health"):
        raise ConfigurationError(f"No sandbox answers at {sandbox_url}; without --sandbox-url one is started.")


def _settings_from_blocks(settings: Settings) -> Settings:
    _connect_prefect(settings)

    import asyncio

    from blocks.configuration import settings_from_blocks

    return asyncio.run(settings_from_blocks())


def _find_org(settings: Settings, org_file: Path | None, org_id: UUID | None) -> Org:
    """Load the file when one is given; return the org to evaluate. Nothing is loaded when anything is refused."""
    from visibility.store.database import connect
    from visibility.store.load import load_file
    from visibility.store.orgs import load_org
    from visibility.store.yaml_lines import read_source

    if org_file is not None:
        read_source(org_file)  # a file that cannot be read is refused before a database is started for it
    database = connect(settings)
    try:
        with database.transaction() as session:
            if org_file is not None:
                org_id = _choose(load_file(session, org_file), org_id, org_file)
            assert org_id is not None
            return load_org(session, org_id)
    finally:
        database.close()


def _choose(found: LoadedFile, wanted: UUID | None, org_file: Path) -> UUID:
    if wanted is not None and wanted in found.org_ids:
        return wanted
    if wanted is not None or not found.org_ids:
        raise InvalidInput(f"{org_file} holds no organisation{f' {wanted}' if wanted else ''}.")
    if len(found.org_ids) > 1:
        listed = ", ".join(f"{org_id} ({name})" for org_id, name in zip(found.org_ids, found.names, strict=True))
        raise InvalidInput(f"{org_file} holds {len(found.org_ids)} organisations; choose one with --org-id: {listed}.")
    return found.org_ids[0]


def _connect_vendors(settings: Settings, org: Org, time_scale: float, sandbox_url: str | None) -> Settings:
    """Find or start the sandbox, tell it of the org, and point every vendor at it."""
    import httpx

    from deployments.local import ensure_sandbox

    url = (sandbox_url or ensure_sandbox(settings.data_folder, time_scale=time_scale)).rstrip("/")
    questions = [question.text for question in org.questions]
    world = {"orgs": [{"name": org.name, "websites": list(org.websites), "questions": questions}]}
    try:
        httpx.post(f"{url}/_world", json=world, timeout=10).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"What answers at {url} is no sandbox ({type(error).__name__}).") from error
    return settings.for_sandbox(url, time_scale)


def _connect_prefect(settings: Settings) -> str:
    """Find or start a Prefect server; what is imported of Prefect after this talks to it."""
    from deployments.local import ensure_prefect_server, prefect_environment

    api_url = ensure_prefect_server(settings.data_folder, database_url=settings.database_url)
    os.environ.update(prefect_environment(settings.data_folder, api_url))
    return api_url


def _run(job: Job, triggered_by: str, user_id: str | None, run_date: date) -> OrgEvaluationSummary:
    """Run the flow; return the summary of a batch that completed or failed, raise what kept it from either."""
    import asyncio

    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

    from flows.org_evaluation import org_evaluation
    from flows.terminal import readable_progress
    from tasks import resources
    from visibility.summary import OrgEvaluationSummary

    async def run() -> OrgEvaluationSummary:
        async with resources.opened(job.settings):
            return await org_evaluation(job.org_id, triggered_by=triggered_by, user_id=user_id, run_date=run_date)

    # hooks run outside of the flow run: Prefect would warn that their log lines have no place in the UI
    settings = {PREFECT_API_URL: job.api_url, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}
    try:
        with temporary_settings(settings), readable_progress():
            return asyncio.run(run())
    except VisibilityError as error:
        if isinstance(error, BatchFailed) and isinstance(error.summary, OrgEvaluationSummary):
            return error.summary
        raise
    except Exception as error:
        raise _in_one_sentence(error, job.api_url) from error


def _in_one_sentence(error: Exception, api_url: str) -> VisibilityError:
    """Return an error that is not ours as one that is; the traceback of what nobody has foreseen is printed."""
    import httpx

    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if isinstance(error, httpx.HTTPError) or str(error).startswith("Failed to reach API"):
        sentence = f"The Prefect API {api_url} cannot be used ({reason})."
    else:
        traceback.print_exception(error)
        sentence = f"The evaluation was ended by an unforeseen error ({reason})."
    return VisibilityError(f"{sentence} What was bought is kept; the same command continues where it stopped.")


def _stop(error: VisibilityError, status: int, as_json: bool) -> NoReturn:
    """Say what is wrong in one sentence and leave; a program that reads JSON gets the same as JSON."""
    typer.echo(f"Error: {error}", err=True)
    if as_json:
        _print_json({"error": {"code": error.code, "message": str(error)}})
    raise typer.Exit(status) from None


def _stop_on_request(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(STOPPED) from None


def _show(summary: OrgEvaluationSummary, api_url: str, as_json: bool) -> None:
    if as_json:
        _print_json(summary.model_dump(mode="json"))
    else:
        from visibility.display import print_summary

        print_summary(summary, next_steps(summary, api_url))
    if summary.reason:
        typer.echo(f"Error: {summary.reason}", err=True)
        raise typer.Exit(FAILED)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def next_steps(summary: OrgEvaluationSummary, api_url: str) -> dict[str, str]:
    """Where to look next: the run in the Prefect UI, the rows in Postgres."""
    from deployments.local.prefect_server import ui_url

    ui = ui_url(api_url)
    return {
        "Prefect UI": f"{ui}/runs/flow-run/{summary.flow_run_id}" if summary.flow_run_id else ui,
        "rows": "select * from org_evals join question_runs using (question_run_id) "
        f"where batch_id = '{summary.batch_id}'",
    }
