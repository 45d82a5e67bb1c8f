"""`python -m sandbox`: serve the vendors' protocols over an invented world until stopped."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.answers import WorldOrg
from sandbox.faults import FAULTS
from sandbox.options import Options
from sandbox.server import PortTaken, listen, make_server, url_of
from sandbox.state import State
from sandbox.world import BadWorld, read_world_file

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return 0, or 2 with one sentence when it cannot start."""
    parsed = _parser().parse_args(arguments)
    try:
        state = State(_options(parsed), _orgs(parsed.world))
        listener = listen(parsed.host, parsed.port)
    except (BadWorld, PortTaken, ValueError) as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    url = url_of(listener)
    server = make_server(state, lambda: print(f"sandbox listening on {url}", flush=True))
    with contextlib.suppress(KeyboardInterrupt):
        server.run([listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Serve Bright Data, OpenAI, Azure OpenAI and Slack look-alikes over an invented world whose "
        "truth is known. Nothing leaves this machine and nothing is stored. See docs/sandbox.md.",
        epilog="Faults: " + ", ".join(FAULTS) + ". GET /_faults says what each does.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default: %(default)s)")
    add("--seed", type=int, default=7, help="the same seed gives the same world and faults (default: %(default)s)")
    add("--time-scale", type=float, default=1.0, metavar="N", help="run N times as fast as real vendors (default: 1)")
    add("--no-latency", action="store_true", help="answer at once; jobs are ready when they are accepted")
    add("--llm-seconds", type=_range, metavar="LEAST:MOST", help="how long completions take, evenly spread")
    add("--max-running-jobs", type=int, metavar="N", help="answer 429 to triggers beyond N running jobs")
    add("--submissions-per-minute", type=float, metavar="N", help="answer 429 beyond N triggers per sandbox minute")
    add("--fault", action="append", default=[], metavar="NAME=PROBABILITY", help="may be given many times")
    add("--world", action="append", default=[], type=Path, metavar="FILE", help="YAML file with orgs to know")
    add("--no-examples", action="store_true", help="do not know the organisations of examples/*.yaml")
    add("--mentions-per-answer", type=int, metavar="N", help="a network's answers mention exactly N of its members")
    add("--hold-seconds", type=float, default=600.0, help="how long a `timeout` holds (real seconds, default: 600)")
    add("--slow-seconds", type=float, default=2.0, help="how long a `slow_body` takes (real seconds, default: 2)")
    return parser


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        seed=parsed.seed,
        time_scale=parsed.time_scale,
        latency=not parsed.no_latency,
        llm_seconds=parsed.llm_seconds,
        max_running_jobs=parsed.max_running_jobs,
        submissions_per_minute=parsed.submissions_per_minute,
        hold_seconds=parsed.hold_seconds,
        slow_seconds=parsed.slow_seconds,
        examples=not parsed.no_examples,
        mentions_per_answer=parsed.mentions_per_answer,
        faults=dict(_fault(text) for text in parsed.fault),
    )


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition(":")
    return float(least), float(most or least)


def _fault(text: str) -> tuple[str, float]:
    """Split NAME=PROBABILITY. Raises ValueError with one sentence."""
    name, _, probability = text.partition("=")
    try:
        return name.strip(), float(probability or 1)
    except ValueError:
        raise ValueError(f"--fault takes NAME=PROBABILITY, such as rate_limited=0.05, not {text!r}.") from None


def _orgs(paths: Sequence[Path]) -> list[WorldOrg]:
    return [org for path in paths for org in read_world_file(path)]


if __name__ == "__main__":
    sys.exit(main())
