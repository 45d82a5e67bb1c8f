"""The service `postgres` of compose.yaml from the embedded Postgres: its image cannot be had without a registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from deployments.image.network import PREFIX, Network
from visibility.errors import ConfigurationError
from visibility.store import embedded

START = """
import sys
from pathlib import Path
from visibility.store import embedded
embedded.start(Path(sys.argv[1]), {"listen_addresses": "*"})
"""


@dataclass(frozen=True)
class Postgres:
    """A server that containers reach by TCP with a password, and we by its socket."""

    folder: Path

    def rows(self, statement: str, *values: object, database: str = "visibility") -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with closing(psycopg2.connect(_socket(self.folder, database))) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


@contextmanager
def postgres(network: Network, folder: Path, password: str) -> Iterator[Postgres]:
    """A server in the network, with user and databases as compose.yaml makes them."""
    command = network.beside([sys.executable, "-c", START, str(folder)])
    started = subprocess.run(command, capture_output=True, text=True, check=False)
    if started.returncode:
        raise ConfigurationError((started.stderr.strip() or "Postgres does not start").splitlines()[-1])
    try:
        _admit(folder, password)
        yield Postgres(folder)
    finally:
        embedded.stop(folder)


def _admit(folder: Path, password: str) -> None:
    with (embedded.server_folder(folder) / "pg_hba.conf").open("a") as file:
        file.write(f"host all visibility {PREFIX}.0/24 scram-sha-256\n")
    with closing(psycopg2.connect(_socket(folder, "postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE ROLE visibility SUPERUSER LOGIN PASSWORD {}").format(sql.Literal(password)))
            cursor.execute("SELECT pg_reload_conf()")


def _socket(folder: Path, database: str) -> str:
    return embedded.url(folder, database).replace("+psycopg2", "")
