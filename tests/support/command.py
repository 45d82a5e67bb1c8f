"""A command of flows/, run in this process as a person runs it, and what it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit status and what it wrote."""

    status: int
    output: str
    errors: str

    @property
    def sentence(self) -> str:
        """The last line on standard error."""
        return self.errors.strip().splitlines()[-1]


Command = Callable[..., Ended]


def command_of(function: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Return what runs the command in this process; what it sets in the environment is forgotten after the test."""
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("VISIBILITY_DATA_FOLDER", str(tmp_path / "data"))
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(function)

    def run(*arguments: object, **environment: str) -> Ended:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


def simulated_command(
    command: Command, monkeypatch: pytest.MonkeyPatch, database_url: str, api_url: str, sandbox_url: str
) -> Command:
    """Return the same on this test's database, the run's Prefect server and a sandbox that answers at once."""
    for name, value in {"DATABASE_URL": database_url, "PREFECT_API_URL": api_url, "SANDBOX_URL": sandbox_url,
                        "COVERAGE_THRESHOLD": "0.8"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return lambda *arguments, **environment: command("--sandbox", "--time-scale", "200", *arguments, **environment)


def assert_refused(ended: Ended, *words: str) -> None:
    """Exit status 2 and one sentence with these words; neither a traceback nor a line of Prefect."""
    assert ended.status == 2, ended.errors
    assert ended.output == "" and "Traceback" not in ended.errors
    assert ended.sentence.startswith("Error: ")
    for word in words:
        assert word in ended.sentence


def subprocess_environment(**more: str) -> dict[str, str]:
    """Return the environment of a command in a process of its own."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY), os.environ["PYTHONPATH"])), **more}
