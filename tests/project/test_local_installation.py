"""`make up` and `make down`: what starts, what is found again, what is left alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deployments.local import ensure_prefect_server, environment, prefect_server
from deployments.local.environment import child_environment
from deployments.local.network import free_port
from deployments.local.processes import Recorded, is_alive, recorded, running, start, stop
from deployments.local.worker import SIMULATED, ensure_worker
from visibility.errors import ConfigurationError
from visibility.store import embedded

ROOT = Path(__file__).parents[2]
SLEEP = ["timeit", "-n", "1", "-r", "1", "-s", "import time", "time.sleep(60)"]


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """In the run's folder: pytest closes its own temporary folder to other users, also to the one Postgres runs as."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["TEST_RUN_FOLDER"]))
    folder.chmod(0o755)
    yield folder
    for record in recorded(folder):
        stop(folder, record)
    embedded.stop(folder)
    shutil.rmtree(folder)


def sleeper(data_folder: Path) -> Recorded:
    return start(data_folder, "sleeper", SLEEP, environment=dict(os.environ))


def ignores_interrupts(status: Path) -> bool:
    ignored = int(status.read_text().split("SigIgn:")[1].split()[0], 16)
    return bool(ignored & (1 << (signal.SIGINT - 1)))


def local(data_folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "VISIBILITY_DATA_FOLDER": str(data_folder)}
    result = subprocess.run(
        [sys.executable, "-m", "deployments.local", *arguments],
        cwd=data_folder, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_started_process_is_found_again(data_folder: Path):
    record = sleeper(data_folder)
    assert running(data_folder, "sleeper") == record


def test_a_stopped_process_is_gone_and_forgotten(data_folder: Path):
    record = sleeper(data_folder)
    assert stop(data_folder, record)
    assert not is_alive(record)
    assert recorded(data_folder) == []


def test_a_worker_with_other_vendors_is_refused_so_that_nobody_pays_by_mistake(data_folder: Path):
    record = start(
        data_folder, "worker", ["http.server", "0"], environment=dict(os.environ), options={"vendors": SIMULATED}
    )  # fmt: skip
    said: list[str] = []
    found = ensure_worker(data_folder, "http://127.0.0.1:9/api", {}, sandbox=True, say=said.append)
    assert (found, said) == (record, [])
    with pytest.raises(ConfigurationError, match=r"A worker with SIMULATED vendors already runs; `make down` stops it"):
        ensure_worker(data_folder, "http://127.0.0.1:9/api", {}, sandbox=False, say=said.append)


def test_a_process_that_got_the_recorded_pid_later_is_left_alone(data_folder: Path):
    record = sleeper(data_folder)
    assert not stop(data_folder, replace(record, created=record.created - 100))
    assert is_alive(record)
    psutil.Process(record.pid).kill()


def test_an_ignored_interrupt_is_not_inherited(data_folder: Path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        record = sleeper(data_folder)
    finally:
        signal.signal(signal.SIGINT, before)
    status = Path(f"/proc/{record.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    deadline = time.monotonic() + 10
    while ignores_interrupts(status) and time.monotonic() < deadline:  # the new process sets it first thing
        time.sleep(0.05)
    assert not ignores_interrupts(status)


def test_a_broken_record_counts_as_nothing(data_folder: Path):
    (data_folder / "run").mkdir()
    (data_folder / "run" / "worker.json").write_text("{not json")
    assert running(data_folder, "worker") is None


def test_a_port_that_is_taken_while_the_server_starts_is_passed_over(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also by somebody who answers nothing. What ends for another reason is not tried again."""
    ends = ["timeit", "-n", "1", "-r", "1", "pass"]
    free = free_port()
    serves = ["http.server", str(free), "--bind", "127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        attempts = iter([(taken.getsockname()[1], ends), (free, serves), (free_port(), ends)])

        def start_next(data_folder: Path, *_: object) -> Recorded:
            port, command = next(attempts)
            return start(
                data_folder, prefect_server.NAME, command, environment=dict(os.environ), url=f"http://127.0.0.1:{port}"
            )

        monkeypatch.setattr(prefect_server, "_start", start_next)
        assert ensure_prefect_server(data_folder) == f"http://127.0.0.1:{free}/api"
    stop(data_folder, recorded(data_folder)[0])
    with pytest.raises(ConfigurationError, match="ended while starting"):
        ensure_prefect_server(data_folder)


def test_a_server_that_has_its_port_and_does_not_get_healthy_is_left_alone_and_told_of(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nobody else has its port: a second one beside it would work on the same database."""
    port = free_port()
    listens = ["timeit", "-n", "1", "-r", "1", "-s", f"import socket; s = socket.create_server(('127.0.0.1', {port}))"]
    started = []

    def start_once(data_folder: Path, *_: object) -> Recorded:
        command = [*listens, "import time; time.sleep(60)"]
        url = f"http://127.0.0.1:{port}"
        started.append(start(data_folder, prefect_server.NAME, command, environment=dict(os.environ), url=url))
        return started[-1]

    monkeypatch.setattr(prefect_server, "_start", start_once)
    monkeypatch.setattr(prefect_server, "START_TIMEOUT_SECONDS", 3)
    with pytest.raises(ConfigurationError, match="is not healthy"):
        ensure_prefect_server(data_folder)
    assert len(started) == 1 and running(data_folder, prefect_server.NAME) == started[0]


def test_a_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) not in (port, 0)


def test_an_unwritable_data_folder_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        ensure_prefect_server(tmp_path / "file")


@pytest.mark.parametrize("place", ["environment", "profile"])
def test_only_the_api_that_the_user_configured_gets_the_users_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    settings = {"PREFECT_API_URL": "https://prefect.example/api", "PREFECT_API_KEY": "key",
                "PREFECT_API_AUTH_STRING": "user:word", "PREFECT_SERVER_API_PORT": "1"}  # fmt: skip
    lines = [f'{name} = "{value}"' for name, value in settings.items()] if place == "profile" else []
    (tmp_path / "profiles.toml").write_text("\n".join(['active = "own"', "[profiles.own]", *lines]))
    for name, value in {**(settings if place == "environment" else {}), "PREFECT_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert passed_on(tmp_path, settings["PREFECT_API_URL"]) == {**settings, "PREFECT_SERVER_API_PORT": None}
    local_url = "http://127.0.0.1:4200/api"
    assert passed_on(tmp_path, local_url) == {**dict.fromkeys(settings), "PREFECT_API_URL": local_url}


def passed_on(data_folder: Path, api_url: str) -> dict[str, str | None]:
    child = child_environment(data_folder, {"PREFECT_API_URL": api_url})
    names = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_PORT")
    return {name: child.get(name) for name in names}


def test_the_api_of_dotenv_is_used_by_all_and_reaches_the_worker_only_as_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environment, "DOTENV", tmp_path / ".env")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / ".env").write_text("PREFECT_API_URL=https://prefect.example/api\nOPENAI_API_KEY=key\n")
    assert environment.configured_api_url() == "https://prefect.example/api"
    assert environment.dotenv_settings() == {"OPENAI_API_KEY": "key"}
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert environment.configured_api_url() == "http://127.0.0.1:1/api"


def test_down_without_up_says_so(data_folder: Path):
    assert "Nothing was running" in local(data_folder, "down")


def test_the_aws_command_line_of_prefect_starts():
    command = Path(sys.executable).with_name("prefect-aws")
    assert subprocess.run([command, "--help"], capture_output=True, check=False).returncode == 0
