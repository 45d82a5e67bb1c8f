"""The local Prefect server: found, or started on Postgres with settings that keep its event queue from overflowing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deployments.local.environment import child_environment, configured_api_url
from deployments.local.network import HOST, answers, free_port, listens
from deployments.local.processes import (
    Recorded,
    Say,
    running,
    say_on_stderr,
    start,
    starting,
    stop,
    wait_until_healthy,
)
from visibility.errors import ConfigurationError

NAME = "prefect-server"
DEFAULT_PORT = 4200
START_TIMEOUT_SECONDS = 120

# Measured: 40 ms of server CPU per task run with the defaults (batches of 1), 10 ms with these; and the in-memory
# queue drops events above 10,000. In-memory leases leak their slots when the server restarts; the slots of a dead
# process wait for the next look at expired leases. Each unfinished flow inside another one is looked at for a
# cancelled parent: with 225 of them, every 20 s by default, that was a quarter of the server's CPU.
TUNED_SETTINGS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # not below: it is cut to a whole number
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "120",
    # Busy for more than 5 s, Postgres would end a server that is just starting: "Application startup failed".
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # also what the UI asks before it reports to anybody
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # that UI asks Amplitude for a configuration, with analytics off too
}


def ensure_prefect_server(data_folder: Path, *, database_url: str | None = None, say: Say = say_on_stderr) -> str:
    """Return the API URL of a healthy Prefect server, starting one when there is none.

    In this order: the API that the user has configured (environment or Prefect profile), the server that we
    recorded, a new one. It keeps its tables on the embedded Postgres, or beside `database_url` when that is given.
    Raises ConfigurationError with one sentence when no server can be had.
    """
    configured = configured_api_url()
    if configured is not None:
        if answers(f"{configured.rstrip('/')}/health", timeout_seconds=5):
            return configured
        say(f"The configured Prefect API {configured} does not answer; using a local server instead.")
    with starting(data_folder, NAME):
        record = running(data_folder, NAME)
        if record is None:
            record = _start(data_folder, database_url, say)
        try:
            _wait_for(record, say)
        except ConfigurationError:
            port = urlsplit(record.url or "").port
            if listens(record.pid, port) or free_port(port) == port:
                raise
            # another process has taken the port between our look at it and our server's
            stop(data_folder, record)
            record = _start(data_folder, database_url, say)
            _wait_for(record, say)
    return f"{record.url}/api"


def _wait_for(record: Recorded, say: Say) -> None:
    """Wait until the recorded process itself, not another one at its address, is healthy."""

    def is_healthy() -> bool:
        return answers(_health_url(record)) and listens(record.pid, urlsplit(record.url or "").port)

    wait_until_healthy(record, is_healthy, timeout_seconds=START_TIMEOUT_SECONDS, say=say)


def _health_url(record: Recorded) -> str:
    return f"{record.url}/api/health"


def ui_url(api_url: str) -> str:
    """Return where a person looks: the server's address without `/api`."""
    return api_url.removesuffix("/").removesuffix("/api")


def _start(data_folder: Path, database_url: str | None, say: Say) -> Recorded:
    port = free_port(DEFAULT_PORT)
    if port != DEFAULT_PORT:
        say(f"Port {DEFAULT_PORT} is taken; the Prefect server uses {port}.")
    url = f"http://{HOST}:{port}"
    settings = {
        **TUNED_SETTINGS,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _server_database(data_folder, database_url),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        "PREFECT_UI_URL": url,  # for the links in what automations tell people
        "PREFECT__SERVER_FINAL": "1",
    }
    say("Starting a Prefect server (about 10 s, once; `make down` stops it) …")
    # the command that `prefect server start --background` runs, without the 2.7 s of Prefect's command line
    command = ["uvicorn", "--factory", "prefect.server.api.server:create_app", "--host", HOST, "--port", str(port)]
    record = start(
        data_folder, NAME, [*command, "--timeout-keep-alive", "5", "--log-level", "warning"],
        environment=child_environment(data_folder, settings), url=url,
    )  # fmt: skip
    say(f"Prefect UI: {url}")
    return record


def _server_database(data_folder: Path, database_url: str | None) -> str:
    """Return the asyncpg URL of the server's own database, created when missing."""
    if database_url is not None:
        return _with_asyncpg(_create_beside(database_url))
    from visibility.store import embedded

    embedded.start(data_folder)
    return _with_asyncpg(embedded.url(data_folder, "prefect"))


def _with_asyncpg(url: str) -> str:
    """asyncpg takes an empty password (`postgres:@`) but would look for a password file without the colon."""
    _, _, rest = url.partition("://")
    credentials, at, place = rest.partition("@")
    if at and ":" not in credentials:
        credentials += ":"
    return f"postgresql+asyncpg://{credentials}{at}{place}"


def _create_beside(database_url: str) -> str:
    """Create `<database>_prefect` on the server of DATABASE_URL unless it is there; return its URL."""
    import psycopg2

    parts = urlsplit("postgresql://" + database_url.partition("://")[2])
    name = f"{parts.path.lstrip('/') or 'visibility'}_prefect"
    try:
        with closing(psycopg2.connect(urlunsplit(parts), connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE "{name.replace(chr(34), "")}"')
    except psycopg2.Error as error:
        raise ConfigurationError(
            f"The Prefect server needs a database {name} on the server of DATABASE_URL and cannot create it: "
            f"{str(error).strip()}. Create it, or set PREFECT_API_URL to a server that runs."
        ) from error
    return urlunsplit(parts._replace(path=f"/{name}"))
