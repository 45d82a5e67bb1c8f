from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from visibility.errors import ConfigurationError, DatabaseUnavailable, RetryableError, UnsupportedDatabase
from visibility.settings import Settings
from visibility.store import database as database_module
from visibility.store import embedded, migrate, server
from visibility.store.database import Database, connect

WHO = contextvars.ContextVar("who", default="nobody")


def sentences(message: str) -> int:
    assert message.endswith("."), message
    return message.count("\n") + 1


@pytest.fixture
def open_database():
    opened = []

    def open_one(url: str, **options) -> Database:
        opened.append(Database(url, **options))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


def count_partners(session) -> int:
    return session.execute(text("SELECT count(*) FROM partners")).scalar_one()


def add_partner(session, name: str = "Beacon") -> None:
    session.execute(text("INSERT INTO partners (name) VALUES (:name)"), {"name": name})


def test_work_is_committed_on_leaving_the_transaction(database):
    with database.transaction() as session:
        add_partner(session)
    with database.transaction() as session:
        assert count_partners(session) == 1


def test_work_is_rolled_back_on_an_exception(database):
    def fail_half_way() -> None:
        with database.transaction() as session:
            add_partner(session)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with database.transaction() as session:
        assert count_partners(session) == 0


def test_the_error_of_a_statement_passes_unaltered(database):
    with pytest.raises(IntegrityError), database.transaction() as session:
        add_partner(session, " ")


def test_timestamps_come_back_in_utc_whatever_the_servers_zone(database):
    with database.transaction() as session:
        now = session.execute(text("SELECT now()")).scalar_one()
        zone = session.execute(text("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")).scalar_one()
    assert now.utcoffset().total_seconds() == 0
    if "TEST_SERVER_URL" not in os.environ:
        assert zone == "America/St_Johns"


async def test_run_commits_and_returns_the_result(database):
    await database.run(add_partner, name="Harbor")
    assert await database.run(count_partners) == 1


def test_run_serves_several_event_loops_at_once(database):
    def one_loop(number: int) -> int:
        async def many() -> None:
            await asyncio.gather(*(database.run(add_partner, f"{number}-{index}") for index in range(20)))

        asyncio.run(many())
        return number

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one_loop, range(4)))
    assert asyncio.run(database.run(count_partners)) == 80


async def test_run_carries_the_context_of_its_caller(database):
    WHO.set("the flow")
    assert await database.run(lambda _session: WHO.get()) == "the flow"


async def test_the_pool_never_exceeds_its_size(database_url, open_database):
    database = open_database(database_url, pool_size=3)
    opened = []
    event.listen(database.engine, "connect", lambda *arguments: opened.append(arguments))
    running, most, lock = 0, 0, threading.Lock()

    def work(session) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        session.execute(text("SELECT pg_sleep(0.01)"))
        with lock:
            running -= 1

    await asyncio.gather(*(database.run(work) for _ in range(60)))
    assert len(opened) <= 3
    assert most == 3


async def test_the_loop_is_free_while_a_statement_runs(database):
    waiting = asyncio.ensure_future(
        database.run(lambda session: session.execute(text("SELECT pg_sleep(0.3)")) and None)
    )
    started = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - started < 0.2
    await waiting


def test_a_full_pool_is_unavailable_not_a_hang(database_url, open_database, monkeypatch):
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.05)
    database = open_database(database_url, pool_size=1)
    with database.transaction() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable, match="busy for too long"), database.transaction() as second:
            second.execute(text("SELECT 1"))


def test_a_connection_lost_during_work_is_unavailable_and_the_next_work_succeeds(database):
    def lose_connection() -> None:
        with database.transaction() as session:
            own = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with database.transaction() as other:
                other.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})
            session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable, match="was lost") as caught:
        lose_connection()
    assert sentences(caught.value.message) == 1
    with database.transaction() as session:
        assert count_partners(session) == 0


def test_idle_connections_that_died_are_replaced_unnoticed(database):
    def terminate_others(session) -> None:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    with database.transaction() as first, database.transaction() as second:
        count_partners(first)
        count_partners(second)
    with database.transaction() as session:
        terminate_others(session)
    with database.transaction() as first, database.transaction() as second:
        assert count_partners(first) == count_partners(second) == 0


def test_a_deadlock_may_be_tried_again(database):
    with database.transaction() as session:
        add_partner(session, "a")
        add_partner(session, "b")
    barrier = threading.Barrier(2, timeout=10)
    touch = text("UPDATE partners SET name = name WHERE name = :name")

    def lock_both(names: str) -> str:
        try:
            with database.transaction() as session:
                session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
                session.execute(touch, {"name": names[0]})
                barrier.wait()
                session.execute(touch, {"name": names[1]})
        except RetryableError as error:
            return error.message
        return "done"

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(lock_both, ["ab", "ba"]))
    assert outcomes == ["Postgres ended this transaction for another one: deadlock detected.", "done"]


def test_a_stopped_server_is_unavailable_in_one_sentence(open_database):
    with pytest.raises(DatabaseUnavailable, match="Postgres cannot be reached: ") as caught:
        open_database("postgresql://nobody@127.0.0.1:1/nothing").check()
    assert sentences(caught.value.message) == 1


def test_an_unknown_host_is_unavailable(open_database):
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        open_database("postgresql://nobody@/nothing?host=/no/such/folder").check()


def test_a_missing_database_is_a_wrong_setting(database_url, open_database):
    url = make_url(database_url).set(database="not_there").render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match='database "not_there" does not exist') as caught:
        open_database(url).check()
    assert sentences(caught.value.message) == 1


def test_an_unknown_user_is_a_wrong_setting(database_url, open_database):
    url = make_url(database_url).set(username="stranger", password="pa55w0rd").render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match="refuses DATABASE_URL") as caught:
        open_database(url).check()
    assert "pa55w0rd" not in str(caught.value)


def test_a_wrong_password_is_a_wrong_setting_and_is_never_shown(open_database):
    folder = Path(os.environ["TEST_RUN_FOLDER"]) / "passwords"
    embedded.start(folder)
    try:
        hba = embedded.server_folder(folder) / "pg_hba.conf"
        with open_database(embedded.url(folder)).transaction() as session:
            session.execute(text("CREATE ROLE customer LOGIN PASSWORD 'right'"))
            hba.write_text("local all customer scram-sha-256\nlocal all all trust\n")
            session.execute(text("SELECT pg_reload_conf()"))
        url = embedded.url(folder).replace("postgres@", "customer:wr0ng@")
        with pytest.raises(ConfigurationError, match="password authentication failed") as caught:
            _until_refused(open_database(url))
        assert "wr0ng" not in str(caught.value)
    finally:
        embedded.stop(folder)


def _until_refused(database: Database) -> None:
    """The server reads its file again within a moment, not at once."""
    for _ in range(100):
        database.check()
        database.engine.dispose()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "mysql://user@host/name", "sqlite:///file.db", "postgresql+asyncpg://user@host/name",
        "postgresql://user:s3cret@host:port/name",
    ],
)  # fmt: skip
def test_what_is_no_postgres_url_is_a_wrong_setting(url):
    with pytest.raises(ConfigurationError, match="is not a Postgres URL such as") as caught:
        Database(url)
    assert "s3cret" not in str(caught.value)


def test_an_unknown_option_in_the_url_is_a_wrong_setting(open_database):
    with pytest.raises(ConfigurationError, match='invalid connection option "ssl_mode"'):
        open_database("postgresql://user@host/name?ssl_mode=require").check()


def test_the_older_scheme_of_some_hosts_is_understood(database_url, open_database):
    open_database(database_url.replace("postgresql+psycopg2://", "postgres://")).check()


def test_a_server_that_is_too_old_is_refused(database, monkeypatch):
    monkeypatch.setattr(server, "MINIMUM_SERVER_VERSION", 990000)
    with pytest.raises(UnsupportedDatabase, match=r"^Postgres \d+ is too old; 99 or newer is needed\.$"):
        database.check()


def test_a_server_that_is_too_old_is_refused_before_anything_is_migrated(empty_database_url, monkeypatch):
    monkeypatch.setattr(server, "MINIMUM_SERVER_VERSION", 990000)
    with pytest.raises(UnsupportedDatabase):
        connect(Settings(database_url=empty_database_url))
    assert migrate.current(empty_database_url) is None


def test_close_gives_back_every_connection(database_url, database):
    other = Database(database_url, pool_size=4)
    asyncio.run(_use(other))
    other.close()
    for _ in range(50):
        with database.transaction() as session:
            left = session.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            ).scalar_one()
        if left == 0:
            return
        time.sleep(0.02)
    pytest.fail(f"{left} connections are left")


async def _use(database: Database) -> None:
    await asyncio.gather(*(database.run(count_partners) for _ in range(8)))


def test_connect_migrates_an_empty_database(empty_database_url):
    connect(Settings(database_url=empty_database_url)).close()
    assert migrate.current(empty_database_url) == migrate.head()


def test_connect_opens_a_current_database_with_the_configured_pool(database_url):
    database = connect(Settings(database_url=database_url, database_pool_size=2))
    assert database.engine.pool.size() == 2
    database.close()


def test_connect_refuses_an_older_schema_and_names_the_command(empty_database_url):
    migrate.upgrade(empty_database_url, "0001")
    with pytest.raises(
        ConfigurationError, match=r"revision 0001 .* run `python -m visibility\.store\.migrate` first\."
    ):
        connect(Settings(database_url=empty_database_url))
    assert migrate.current(empty_database_url) == "0001"


def test_connect_leaves_somebody_elses_database_alone(empty_database_url, open_database):
    with open_database(empty_database_url).transaction() as session:
        session.execute(text("CREATE TABLE somebody_elses (id int)"))
    with pytest.raises(ConfigurationError, match="has no schema of this product"):
        connect(Settings(database_url=empty_database_url))
    assert migrate.current(empty_database_url) is None
