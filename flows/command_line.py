"""What the commands `python -m flows.<name>` share: options, refusals in one sentence, exit statuses, JSON.

Heavy libraries are imported where they are needed: Prefect alone takes 1.5 s, which help and refusals do not wait for.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Annotated, Any, NoReturn, Protocol, TypeAlias, TypeVar, cast

import typer

from flows.preparation import Job, Vendors
from visibility.errors import BatchFailed, ConfigurationError, InvalidInput, VisibilityError

SANDBOX_TIME_SCALE = 60.0
COMPLETED, FAILED, REFUSED, STOPPED = 0, 1, 2, 130


class Summary(Protocol):
    """What a flow returns: a document with the reason where it failed."""

    @property
    def reason(self) -> str | None: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


Result = TypeVar("Result", bound=Summary)


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


def day_option(meaning: str) -> Any:
    """Return the option of a UTC date; None when it is not given."""
    return typer.Option(parser=_day, metavar="YYYY-MM-DD", help=meaning)


TriggeredBy: TypeAlias = Annotated[str, typer.Option(help="Who or what asks for it.")]
UserId: TypeAlias = Annotated[str | None, typer.Option(help="The user on whose behalf it runs.")]
RunDate: TypeAlias = Annotated[date | None, day_option("UTC date of the batch; by default today.")]
Sandbox: TypeAlias = Annotated[
    bool, typer.Option("--sandbox", help="Ask simulated vendors; no key is needed, results say so.")
]
TimeScale: TypeAlias = Annotated[
    float, typer.Option(min=0.1, help="Sandbox only: how many times faster than real vendors.")
]
SandboxUrl: TypeAlias = Annotated[
    str | None, typer.Option(envvar="SANDBOX_URL", help="With --sandbox: use the sandbox that runs there.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def vendors_of(context: typer.Context, sandbox: bool, time_scale: float, sandbox_url: str | None) -> Vendors:
    """Return whom the options name; raises InvalidInput for options that contradict each other."""
    source = context.get_parameter_source("sandbox_url")
    if not sandbox and source is not None and source.name == "COMMANDLINE":
        raise InvalidInput("--sandbox-url needs --sandbox; without it the real vendors would be asked.")
    return Vendors(sandbox, time_scale, sandbox_url)


def checked_day(run_date: date | None) -> date:
    """Return the date of the batch, by default today; raises InvalidInput."""
    from visibility.domain import check_run_date

    today = datetime.now(UTC).date()
    return check_run_date(run_date or today, today)


@contextmanager
def refusing(as_json: bool) -> Iterator[None]:
    """Leave with one sentence when something is wrong before anything was asked."""
    try:
        yield
    except VisibilityError as error:
        _stop(error, REFUSED, as_json)
    except KeyboardInterrupt:
        _stop_on_request("Stopped before anything was asked.")


def run_flow(job: Job, load: Callable[[], Callable[[], Awaitable[Result]]], as_json: bool) -> Result:
    """Run a flow; return the summary of one that completed or failed, leave with a sentence when there is none.

    `load` imports the flow, which it can once Prefect knows its server, and returns what starts it.
    """
    try:
        return _run(job, load)
    except VisibilityError as error:
        _stop(error, REFUSED if isinstance(error, (InvalidInput, ConfigurationError)) else FAILED, as_json)
    except KeyboardInterrupt:
        _stop_on_request("Stopped. What was bought is kept; the same command continues where it stopped.")


def _run(job: Job, load: Callable[[], Callable[[], Awaitable[Result]]]) -> Result:
    import asyncio

    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

    from flows.terminal import readable_progress
    from tasks import resources

    start = load()

    async def run() -> Result:
        linger = None if job.shares_jobs else 0
        needs = {"asks": job.work == "asks", "reads": job.work != "looks"}
        async with resources.opened(job.settings, linger_seconds=linger, patient=job.patient, **needs):
            return await start()

    # hooks run outside of the flow run: Prefect would warn that their log lines have no place in the UI
    settings = {PREFECT_API_URL: job.api_url, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}
    try:
        with temporary_settings(settings), readable_progress():
            return asyncio.run(run())
    except VisibilityError as error:
        if isinstance(error, BatchFailed) and error.summary is not None:
            return cast(Result, error.summary)  # the flow raises it with what it would have returned
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
        sentence = f"The flow was ended by an unforeseen error ({reason})."
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


def show(summary: Result, page: Callable[[Result], None], as_json: bool) -> None:
    """Print the result as JSON or as a page; leave with exit status 1 and the reason when it failed."""
    if as_json:
        _print_json(summary.model_dump(mode="json"))
    else:
        page(summary)
    if summary.reason:
        typer.echo(f"Error: {summary.reason}", err=True)
        raise typer.Exit(FAILED)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def next_steps(flow_run_id: object, api_url: str, queries: Mapping[str, str]) -> dict[str, str]:
    """Where to look next: the run in the Prefect UI, the rows in Postgres."""
    from deployments.local.prefect_server import ui_url

    ui = ui_url(api_url)
    return {"Prefect UI": f"{ui}/runs/flow-run/{flow_run_id}" if flow_run_id else ui, **queries}
