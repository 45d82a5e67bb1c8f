"""Make a Prefect server what the files say; run it again at any time, it changes only what differs.

Work pools, limits across machines, block types and documents, automations (docs/bootstrap.md). Deployments are not
among them: `prefect --no-prompt deploy --all` makes those, afterwards.
"""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visibility.errors import VisibilityError
from visibility.settings import read_settings

if TYPE_CHECKING:
    from deployments.bootstrap.everything import Wanted


class Pool(StrEnum):
    """Which work pools are wanted."""

    LOCAL = "local"
    ECS = "ecs"
    BOTH = "both"


def bootstrap(
    pool: Annotated[
        Pool | None,
        typer.Option(help="Work pools to create.", show_default="ecs with --terraform-outputs, else local"),
    ] = None,
    terraform_outputs: Annotated[
        Path | None,
        typer.Option(help="File of `terraform output -json`, for AWS; VISIBILITY_AWS_… override it or stand alone."),
    ] = None,
    keys_as: Annotated[
        str | None,
        typer.Option(help="Save the environment's keys as block documents of this name; default VISIBILITY_BLOCKS."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is missing or different.")] = False,
) -> None:
    """Create or update work pools, limits, blocks and automations at the Prefect server.

    SLACK_WEBHOOK_URL is where flows and automations tell people; without it automations only change states.
    Run it again at any time: it changes only what differs. Deployments come after it, by `prefect deploy --all`.

    Exit status: 0 all is as wanted; 1 with --check: something is missing or different; 2 an input is wrong or the
    server cannot be asked, and one sentence says so.
    """
    wanted = _wanted(pool or (Pool.ECS if terraform_outputs else Pool.LOCAL), terraform_outputs, keys_as)
    from deployments.bootstrap.everything import put_everything_in_place
    from deployments.bootstrap.outcome import AS_WANTED

    outcomes = asyncio.run(put_everything_in_place(wanted, check=check))
    for outcome in outcomes:
        typer.echo(str(outcome))
    if check and any(outcome.state not in AS_WANTED for outcome in outcomes):
        raise typer.Exit(1)


def _wanted(pool: Pool, terraform_outputs: Path | None, keys_as: str | None) -> Wanted:
    """Read every input before Prefect is imported: what is wrong is said at once."""
    from deployments.ecs.outputs import read_outputs

    settings = read_settings()
    on_aws = pool is not Pool.LOCAL or terraform_outputs is not None
    outputs = read_outputs(terraform_outputs, os.environ) if on_aws else None
    from deployments.bootstrap.everything import Wanted

    return Wanted(
        settings,
        outputs,
        local=pool is not Pool.ECS,
        ecs=pool is not Pool.LOCAL,
        webhook_url=os.environ.get("SLACK_WEBHOOK_URL") or None,
        keys_as=keys_as or settings.blocks,
    )


def main() -> None:
    """Run the command; a wrong input is one sentence and exit status 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bootstrap)
    try:
        app(prog_name="python -m deployments.bootstrap")
    except VisibilityError as error:
        typer.echo(error.message, err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
