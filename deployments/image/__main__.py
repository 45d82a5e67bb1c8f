"""Build the image and try it out: `python -m deployments.image`; optional, needs root, buildah and debootstrap."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from deployments.image.build import ROOT, require_tools
from visibility.errors import VisibilityError

RESULT = ROOT / "docs/image-result.json"


def image(
    base: Annotated[
        str | None,
        typer.Option(
            help="Base image to pull, as python:3.11-slim-bookworm.", show_default="a stand-in from Debian's packages"
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where images and logs are kept, for a faster second time.", show_default="a temporary one"),
    ] = None,
    result: Annotated[
        Path, typer.Option(help="JSON file for the result.", show_default="docs/image-result.json")
    ] = RESULT,
) -> None:
    """Build the Dockerfile's images with buildah, try them out, run compose.yaml's commands in them; minutes.

    No engine and no registry of images is needed: Debian's packages and a package index are.

    Exit status: 0 every check passed; 1 a check failed; 2 this machine cannot build or the build fails, and one
    sentence says so.
    """
    require_tools()
    from deployments.image.trial import tried

    with _kept_or_temporary(folder) as place:
        found = tried(base, place, _say_with_time())
        result.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    failed = sum(not check["passed"] for check in found["checks"])
    typer.echo(f"{len(found['checks']) - failed} of {len(found['checks'])} checks passed; see {result}.")
    if failed:
        raise typer.Exit(1)


@contextmanager
def _kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="senso-image-") as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    yield folder.absolute()


def _say_with_time() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - began:6.0f} s  {line}")


def main() -> None:
    """Run the command; what keeps it from building is one sentence and exit status 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(image)
    try:
        app(prog_name="python -m deployments.image")
    except VisibilityError as error:
        typer.echo(error.message, err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
