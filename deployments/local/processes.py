"""Start, record, find and stop detached processes; only what stands in `<data folder>/run/*.json` is ever stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from visibility.errors import ConfigurationError

START_LOCK_SECONDS = 120
SAME_START_SECONDS = 0.02
# A non-interactive shell starts `make up &` with SIGINT ignored; a Prefect worker that inherits this
# survives SIGTERM (it turns one into the other). exec keeps pid and start time, so the record stays true.
WITH_DEFAULT_SIGNALS = (
    "import os, signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    """Print progress where it does not disturb a program that reads standard output."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One process that we started; `created` is psutil's create_time, seconds since the epoch."""

    name: str
    pid: int
    created: float
    url: str | None
    log_file: str
    options: dict[str, str] = field(default_factory=dict)


def run_folder(data_folder: Path) -> Path:
    """Return the folder of records, logs and locks, made when missing.

    Raises ConfigurationError when it cannot be written.
    """
    folder = data_folder.expanduser().absolute() / "run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {data_folder} cannot be written ({error.strerror}); set VISIBILITY_DATA_FOLDER."
        ) from error
    return folder


@contextmanager
def starting(data_folder: Path, name: str) -> Iterator[None]:
    """Hold the lock under which the process `name` is looked for and started."""
    lock = FileLock(run_folder(data_folder) / f"{name}.lock", timeout=START_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigurationError(
            f"Another command has been starting {name} for {START_LOCK_SECONDS} s; see {run_folder(data_folder)}."
        ) from error
    try:
        yield
    finally:
        lock.release()


def start(
    data_folder: Path,
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    url: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Recorded:
    """Start `python -m <command>` in its own session, output to a log file, and record it."""
    folder = run_folder(data_folder)
    log_file = folder / f"{name}.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", WITH_DEFAULT_SIGNALS, sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=dict(environment), cwd=folder, start_new_session=True,
        )  # fmt: skip
    process.returncode = 0  # detached on purpose: it outlives this command, so it is no leak to warn about
    created = psutil.Process(process.pid).create_time()
    record = Recorded(name, process.pid, created, url, str(log_file), dict(options or {}))
    unfinished = folder / f"{name}.json.new"
    unfinished.write_text(json.dumps(asdict(record), indent=2))
    unfinished.replace(folder / f"{name}.json")
    return record


def recorded(data_folder: Path) -> list[Recorded]:
    """Return every record, alive or not, by name."""
    folder = data_folder.expanduser().absolute() / "run"
    return [record for path in sorted(folder.glob("*.json")) if (record := _read(path)) is not None]


def running(data_folder: Path, name: str) -> Recorded | None:
    """Return the record of this process when it is alive."""
    record = _read(data_folder.expanduser().absolute() / "run" / f"{name}.json")
    return record if record is not None and is_alive(record) else None


def is_alive(record: Recorded) -> bool:
    """Say whether the recorded process itself lives: a pid alone may have been given to another."""
    return _process(record) is not None


def wait_until_healthy(record: Recorded, is_healthy: Callable[[], bool], *, timeout_seconds: float, say: Say) -> None:
    """Wait for a started process, with a line of progress every five seconds.

    Raises ConfigurationError with the end of its log when it ends or does not become healthy.
    """
    began = time.monotonic()
    said = 0.0
    while not is_healthy():
        waited = time.monotonic() - began
        if not is_alive(record):
            raise ConfigurationError(
                f"{record.name} ended while starting: {last_line(record)} (log: {record.log_file})"
            )
        if waited > timeout_seconds:
            raise ConfigurationError(f"{record.name} is not healthy after {waited:.0f} s (log: {record.log_file})")
        if waited - said >= 5:
            said = waited
            say(f"  {record.name}: starting, {waited:.0f} s …")
        time.sleep(0.1)


def stop(data_folder: Path, record: Recorded, *, timeout_seconds: float = 15) -> bool:
    """End the recorded process and its children, then forget it; False when it was not alive."""
    process = _process(record)
    if process is not None:
        children = _children(process)
        _signal(process, psutil.Process.terminate)
        _wait([process], timeout_seconds)
        remaining = [each for each in (process, *children) if _lives(each)]
        for each in remaining:
            _signal(each, psutil.Process.kill)
        _wait(remaining, 5)
    (run_folder(data_folder) / f"{record.name}.json").unlink(missing_ok=True)
    return process is not None


def last_line(record: Recorded) -> str:
    """Return the last line that the process logged."""
    try:
        lines = Path(record.log_file).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it logged nothing"


def _read(path: Path) -> Recorded | None:
    try:
        return Recorded(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _process(record: Recorded) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) <= SAME_START_SECONDS
        return process if same and _lives(process) else None
    except psutil.NoSuchProcess:
        return None


def _lives(process: psutil.Process) -> bool:
    """A zombie counts as ended: in a container nobody may ever collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, send: Callable[[psutil.Process], None]) -> None:
    try:
        send(process)
    except psutil.NoSuchProcess:
        return


def _wait(processes: Sequence[psutil.Process], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while any(_lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in processes:
        _collect(process)


def _collect(process: psutil.Process) -> None:
    """Take the exit status of our own child, so that no zombie stays while this command lives."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return
