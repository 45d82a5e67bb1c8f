"""`python -m evals`: score the reading of the labelled set for several numbers of answers per call.

Exit code 1 when a larger number is worse than one answer per call, 2 when nothing can be measured.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from evals.labelled import Case, labelled_orgs
from evals.reading import SetReading, Way, read_set
from evals.report import Measured, figures_table, not_measured, worse_than_single
from evals.scoring import scores
from sandbox.server import serve_in_thread
from visibility.errors import VisibilityError
from visibility.llm.client import LlmClient
from visibility.settings import LlmSettings, Settings, read_settings

WAYS: tuple[Way, ...] = ("joint", "apart")
NUMBERS = (1, 2, 4, 8)


@contextmanager
def llm_settings(settings: Settings, *, sandbox: bool) -> Iterator[tuple[str, LlmSettings]]:
    """Yield what is read with, in words, and its settings: the configured LLM, or a sandbox where there is none."""
    if settings.llm.configured and not sandbox:
        yield settings.llm.evaluation_model, settings.llm
        return
    with serve_in_thread(latency=False, examples=False) as running:
        yield "SANDBOX, rules instead of a model", settings.for_sandbox(running.url, time_scale=100).llm


async def measure(settings: LlmSettings, numbers: Sequence[int]) -> list[Measured]:
    """Read the set in both ways with every number of answers per call, one after the other."""
    orgs = labelled_orgs()
    cases = [case for org in orgs for case in org.cases]
    async with LlmClient(settings) as client:
        return [
            _measured(way, number, cases, await read_set(client, orgs, way, number))
            for way in WAYS
            for number in numbers
        ]


def _measured(way: Way, number: int, cases: Sequence[Case], reading: SetReading) -> Measured:
    return Measured(way, number, scores(cases, reading.evaluations), reading.calls, len(reading.failed))


def main(
    answers_per_call: Annotated[
        list[int] | None, typer.Option(help="Numbers to compare; 1 is always measured. Default: 1, 2, 4, 8.")
    ] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Use the sandbox although a key is set.")] = False,
) -> None:
    """Score mentions, passages, sentiment, competitors and citations on the labelled set."""
    numbers = sorted({1, *(answers_per_call or NUMBERS)})
    console = Console(width=130 if not sys.stdout.isatty() else None)
    try:
        with llm_settings(read_settings(), sandbox=sandbox) as (reader, settings):
            measured = asyncio.run(measure(settings, numbers))
    except VisibilityError as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    console.print(figures_table(reader, measured))
    for sentence in (missing := not_measured(measured)):
        console.print(sentence)
    if missing:
        raise typer.Exit(2)
    worse = worse_than_single(measured)
    for sentence in worse or ["No larger number of answers per call is worse than one."]:
        console.print(sentence)
    raise typer.Exit(1 if worse else 0)


if __name__ == "__main__":
    typer.run(main)
