"""One Postgres per test run, one migrated template in it, one clone per test.

The run's controller owns a folder; the first worker that needs a database starts the server and
makes the template there; the controller stops and removes everything at the end. What a killed
run left behind is removed by the next one. With `DATABASE_URL` that server is used instead.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import psutil
import psycopg2
from filelock import FileLock
from sqlalchemy.engine import URL, make_url

from deployments.local import processes
from visibility.store import embedded
from visibility.store.migrate import upgrade

RUN_FOLDER_PREFIX = "visibility-tests-"
MEMORY = Path("/dev/shm")  # where Linux keeps files in memory: a database is copied there in a quarter of the time
MEMORY_BYTES = 4 * 1024**3  # a container may have next to none of it
FAST_AND_FORGETFUL: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "256MB",
    # not UTC on purpose: what depends on the server's time zone fails here and not at a customer's
    "timezone": "America/St_Johns",
}
_numbers = count(1)


def create_run_folder() -> Path:
    """Make this run's folder; its owner file says whose it is."""
    folder = Path(tempfile.mkdtemp(prefix=RUN_FOLDER_PREFIX, dir=MEMORY if _has_memory() else None))
    folder.chmod(0o755)  # as root, Postgres runs as another user
    (folder / "owner.json").write_text(json.dumps({"pid": os.getpid(), "started": psutil.Process().create_time()}))
    return folder


def _has_memory() -> bool:
    return os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES


def remove_run_folder(folder: Path, server_url: str | None) -> None:
    """Drop this run's template on a given server, or stop the run's own server; then remove the folder."""
    if server_url is not None and (folder / "template").exists():
        _execute(server_url, f'DROP DATABASE IF EXISTS "{template_name(folder)}" WITH (FORCE)')
    for record in processes.recorded(folder / "data"):
        processes.stop(folder / "data", record)
    for pid_file in folder.glob("**/postgres/postmaster.pid"):  # and what a killed test left running
        embedded.stop(pid_file.parent.parent)
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale_run_folders() -> None:
    """Stop and remove the servers of runs that were killed."""
    places = (Path(tempfile.gettempdir()), MEMORY)
    for folder in (found for place in places for found in place.glob(f"{RUN_FOLDER_PREFIX}*")):
        try:
            owner = json.loads((folder / "owner.json").read_text())
            if psutil.Process(owner["pid"]).create_time() == owner["started"]:
                continue
        except psutil.NoSuchProcess:
            remove_run_folder(folder, None)
        except (OSError, ValueError):
            continue  # another user's, or just being made


def template_name(folder: Path) -> str:
    """Return the name of the run's template database."""
    return "template_" + "".join(letter for letter in folder.name.lower() if letter.isalnum())


def server(folder: Path, server_url: str | None) -> URL:
    """Return the URL of the run's server, on which the migrated template exists."""
    with FileLock(folder / "template.lock", timeout=120):
        if server_url is None:
            base = make_url(embedded.start(folder / "data", FAST_AND_FORGETFUL))
        else:
            base = make_url(server_url).set(drivername="postgresql+psycopg2")
        if not (folder / "template").exists():
            _execute(base, f'CREATE DATABASE "{template_name(folder)}" TEMPLATE template0 ENCODING UTF8')
            template = base.set(database=template_name(folder))
            upgrade(template.render_as_string(hide_password=False))
            (folder / "template").touch()
    return base


@contextmanager
def clone(base: URL, template: str | None) -> Iterator[str]:
    """The URL of a new database, a copy of the template (or empty); dropped on leaving."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    own = os.environ.get("TEST_SERVER_URL") is None
    strategy = "STRATEGY FILE_COPY" if own and MEMORY in Path(os.environ["TEST_RUN_FOLDER"]).parents else ""
    _execute(base, f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}" {strategy}')
    try:
        yield base.set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(base, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(url: URL | str, statement: str) -> None:
    """CREATE and DROP DATABASE cannot run in a transaction."""
    parts = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(parts)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
