"""What conftest promises to every test."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import NETWORK_LOG, clean_environment, network_attempts
from visibility.settings import Settings

TO_LEAVE = """
import socket, urllib.request
for leave in (
    lambda: socket.socket().connect(("93.184.215.14", 80)),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("93.184.215.14", 53)),
    lambda: socket.getaddrinfo("example.com", 80),
    lambda: socket.gethostbyname("example.com"),
    lambda: urllib.request.urlopen("http://example.com", timeout=1),
):
    try:
        leave()
    except OSError as error:
        print(error)
"""
REFUSALS = ["connect 93.184.215.14", "sendto 93.184.215.14", "getaddrinfo example.com", "gethostbyname example.com",
            "getaddrinfo example.com"]  # fmt: skip


def test_nothing_outside_this_machine_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(NETWORK_LOG, str(tmp_path / "log"))
    exec(TO_LEAVE, {})
    assert capsys.readouterr().out.count("do not leave this machine") == len(REFUSALS)
    assert refused(tmp_path / "log") == REFUSALS


def test_no_process_of_a_test_reaches_another_machine_either(tmp_path: Path):
    environment = {**os.environ, NETWORK_LOG: str(tmp_path / "log")}
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TO_LEAVE!r}], check=True)"
    said = subprocess.run([sys.executable, "-c", child], env=environment, capture_output=True, text=True)
    assert said.stdout.count("do not leave this machine") == len(REFUSALS), said.stderr
    assert refused(tmp_path / "log") == REFUSALS


def refused(log: Path) -> list[str]:
    """What the guard wrote down, without who tried."""
    return [line.partition(" by ")[0].removeprefix("socket.") for line in network_attempts(log)]


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as connection:
        connection.connect(server.getsockname())


def test_no_key_and_no_database_of_the_caller_is_seen(monkeypatch, tmp_path):
    for name in ("BRIGHTDATA_API_KEY", "OPENAI_API_KEY", "DATABASE_URL", "PREFECT_API_URL", "https_proxy", "PGHOST"):
        monkeypatch.setenv(name, "x")
    clean_environment(Path(os.environ["HOME"]))
    left = {"BRIGHTDATA_API_KEY", "OPENAI_API_KEY", "DATABASE_URL", "PREFECT_API_URL", "https_proxy", "PGHOST"}
    assert left.isdisjoint(os.environ)


def test_a_dotenv_file_in_the_working_directory_is_not_read(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://x\nOPENAI_API_KEY=x\nBRIGHTDATA_API_KEY=x\n")
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert (settings.database_url, settings.llm.openai_api_key, settings.brightdata.api_key) == (None, None, None)


def test_data_goes_into_the_folder_of_the_run():
    assert str(Settings().data_folder).startswith(os.environ["TEST_RUN_FOLDER"])
    assert str(Path.home()).startswith(os.environ["TEST_RUN_FOLDER"])


@pytest.mark.parametrize("turn", [1, 2])
def test_randomness_is_the_same_in_every_test(turn):
    assert random.random() == random.Random(0).random()
