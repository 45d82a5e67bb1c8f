"""Start, stop and show the local installation: `python -m deployments.local up | down | status`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.local import prefect_server, sandbox_server, worker
from deployments.local.bootstrap import bootstrap
from deployments.local.environment import dotenv_settings
from deployments.local.processes import recorded, running, starting, stop
from visibility.errors import VisibilityError
from visibility.settings import read_settings

STOPPED_IN_ORDER = (worker.NAME, prefect_server.NAME, sandbox_server.NAME)

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def up(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Flow runs of the worker use the simulated vendors.")
    ] = False,
    time_scale: Annotated[
        float, typer.Option(help="The sandbox divides realistic latencies by this.")
    ] = sandbox_server.TIME_SCALE,
) -> None:
    """Start Postgres, a Prefect server, the sandbox and a worker, unless they run."""
    settings = read_settings()
    folder = settings.data_folder
    api_url = prefect_server.ensure_prefect_server(folder, database_url=settings.database_url, say=typer.echo)
    sandbox_url = sandbox_server.ensure_sandbox(folder, time_scale=time_scale, say=typer.echo)
    bootstrap(folder, api_url, say=typer.echo)
    vendors = sandbox_server.sandbox_environment(settings, sandbox_url, time_scale) if sandbox else {}
    started = worker.ensure_worker(folder, api_url, dotenv_settings() | vendors, sandbox=sandbox, say=typer.echo)
    typer.echo(f"Prefect UI  {prefect_server.ui_url(api_url)}")
    typer.echo(f"Sandbox     {sandbox_url}")
    typer.echo(f"Worker      pool {worker.POOL}, {started.options['vendors']}")
    typer.echo(f"Logs        {folder / 'run'}")
    typer.echo("`make down` stops all of it.")


@app.command()
def down() -> None:
    """Stop what was started here, by the recorded processes; the data stays."""
    from visibility.store import embedded

    settings = read_settings()
    stopped: list[str] = []
    for name in STOPPED_IN_ORDER:
        with starting(settings.data_folder, name):
            stopped += [name for record in recorded(settings.data_folder) if record.name == name
                        and stop(settings.data_folder, record)]  # fmt: skip
    if embedded.stop(settings.data_folder):
        stopped.append("postgres")
    typer.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def status() -> None:
    """Show what runs."""
    settings = read_settings()
    records = recorded(settings.data_folder)
    for record in records:
        alive = running(settings.data_folder, record.name) is not None
        state = f"running, pid {record.pid}" if alive else "ended"
        typer.echo(f"{record.name:16} {state:24} {record.url or ''}  log {record.log_file}")
    if not records:
        typer.echo("Nothing was started; `make up` starts everything.")


def main() -> None:
    """Run the command; an error of ours is one sentence and exit code 2."""
    try:
        app()
    except VisibilityError as error:
        typer.echo(error.message, err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
