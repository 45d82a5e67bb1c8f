"""One Postgres, one bounded pool, synchronous sessions in worker threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Concatenate, ParamSpec, TypeVar

import stamina
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session

from visibility.errors import DatabaseUnavailable
from visibility.settings import Settings
from visibility.store import embedded, migrate
from visibility.store.server import check_version, our_errors, sqlalchemy_url

POOL_TIMEOUT_SECONDS = 60

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Database:
    """A pool of at most `pool_size` connections, made when needed; `run` never holds one across an await.

    May be shared by threads and by event loops. Timestamps come back in UTC whatever the server's zone is.
    """

    def __init__(self, url: str, pool_size: int = 10) -> None:
        self.engine: Engine = create_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            insertmanyvalues_page_size=5000,
            hide_parameters=True,  # the texts of answers and questions do not belong in errors and logs
        )
        event.listen(self.engine, "connect", _set_up_session)
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="database")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed on leaving, rolled back on an exception."""
        with our_errors(), Session(self.engine) as session, session.begin():
            yield session

    async def run(
        self,
        work: Callable[Concatenate[Session, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run `work(session, …)` in one transaction on a worker thread.

        Cancelling the caller does not stop a transaction that has begun: it commits or fails on its own.
        """

        def in_transaction() -> Result:
            with self.transaction() as session:
                return work(session, *args, **kwargs)

        # the thread logs and traces as the caller does
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, in_transaction)

    async def insist(
        self,
        work: Callable[Concatenate[Session, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """As `run`, tried again while the database cannot be reached (up to 45 s): for what has been paid for.

        `work` must be harmless to do twice, because a commit may have come through before the connection broke.
        """
        async for attempt in stamina.retry_context(on=DatabaseUnavailable, attempts=12, timeout=45):
            with attempt:
                result = await self.run(work, *args, **kwargs)
        return result

    def check(self) -> None:
        """Raise DatabaseUnavailable, ConfigurationError or UnsupportedDatabase when this server cannot serve."""
        with self.transaction() as session:
            check_version(session.connection())

    def close(self) -> None:
        """Wait for what is running, then give back every connection."""
        self._threads.shutdown(wait=True)
        self.engine.dispose()


def connect(settings: Settings) -> Database:
    """Open the configured database, or the embedded one (started when it does not run).

    The embedded one is migrated here; of a given one only an empty database is: the schema of a
    shared database changes when its owner says so. Raises ConfigurationError with the command then.
    """
    url = embedded.url_from(settings)
    if settings.database_url is None:
        migrate.upgrade(url)
    else:
        migrate.require_current(url)
    return Database(url, settings.database_pool_size)


def _set_up_session(connection: Any, _record: object) -> None:
    """As statements: poolers such as PgBouncer refuse them as start-up parameters.

    A transaction that does nothing for a minute is that of a stopped process; its locks would hold up its successor.
    """
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
    connection.autocommit = False
