"""`python -m sandbox` as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sandbox.__main__ import main
from sandbox.faults import FAULTS

COMMAND = [sys.executable, "-m", "sandbox"]


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_it_prints_one_line_with_its_address_and_ends_quietly(tmp_path: Path) -> None:
    world = tmp_path / "world.yaml"
    world.write_text("orgs: [{name: Zendora, questions: ['Which CRM?']}]")
    with started("--world", str(world), "--no-latency", "--fault", "rate_limited=1") as (process, line):
        url = line.removeprefix("sandbox listening on ")
        assert httpx.get(f"{url}/").json()["sandbox"] is True
        assert "Zendora" in {org["name"] for org in httpx.get(f"{url}/_world").json()["orgs"]}
        headers = {"Authorization": "Bearer key"}
        assert httpx.get(f"{url}/datasets/v3/progress/x", headers=headers).status_code == 429
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_a_taken_port_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"The sandbox cannot listen on 127.0.0.1:{port}: Address already in use."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "no_such_fault=0.1"], "There is no fault 'no_such_fault'"),
        (["--fault", "blocked=often"], "--fault takes NAME=PROBABILITY"),
        (["--fault", "blocked=1.5"], "The probability of blocked must be a number from 0 to 1"),
        (["--time-scale", "0"], "--time-scale must be greater than 0"),
        (["--max-running-jobs", "0"], "--max-running-jobs must be greater than 0"),
        (["--world", "missing.yaml"], "The world file missing.yaml cannot be read"),
        (["--port", "70000"], "The sandbox cannot listen on 127.0.0.1:70000"),
    ],
)
def test_a_bad_option_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith(said)
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_the_help_names_every_option_and_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("--time-scale", "--max-running-jobs", "--world", *FAULTS):
        assert word in said


def test_the_documentation_names_every_option_and_fault() -> None:
    text = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert [fault.name for fault in FAULTS.values() if f"| `{fault.name}` |" not in text] == []
    assert [fault.name for fault in FAULTS.values() if fault.sentence not in text] == []
    for option in ("--seed", "--time-scale", "--no-latency", "--fault", "--world", "--no-examples", "--hold-seconds"):
        assert option in text
