from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import psycopg2
import pytest
from sqlalchemy import create_engine, text

from visibility.errors import ConfigurationError, DatabaseUnavailable
from visibility.settings import Settings
from visibility.store import embedded, migrate
from visibility.store.database import Database, connect

START = "import sys, pathlib; from visibility.store import embedded; print(embedded.start(pathlib.Path(sys.argv[1])))"


@pytest.fixture(scope="module")
def home():
    """Not in pytest's own temporary folder, which every starting pytest closes to the server's user again."""
    with tempfile.TemporaryDirectory(dir=os.environ["TEST_RUN_FOLDER"], prefix="embedded-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def shared_folder(home):
    """One running server for all tests that do not stop it."""
    folder = home / "shared"
    embedded.start(folder)
    yield folder
    embedded.stop(folder)


@pytest.fixture
def own_folder(home):
    return Path(tempfile.mkdtemp(dir=home))


@pytest.fixture
def data_folder(own_folder):
    folder = own_folder / "data"
    yield folder
    if folder.is_dir():
        embedded.stop(folder)


def ask(url: str, query: str) -> object:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(text(query)).scalar_one()
    finally:
        engine.dispose()


def server_pid(folder: Path) -> int:
    return int((embedded.server_folder(folder) / "postmaster.pid").read_text().splitlines()[0])


def test_a_started_server_is_found_again(shared_folder):
    before = server_pid(shared_folder)
    assert embedded.start(shared_folder) == embedded.url(shared_folder)
    assert server_pid(shared_folder) == before


def test_both_databases_exist_in_utf8(shared_folder):
    for name in ("visibility", "prefect"):
        url = embedded.url(shared_folder, name)
        assert ask(url, "SELECT current_database()") == name
        assert ask(url, "SHOW server_encoding") == "UTF8"


def test_prefects_server_finds_what_it_needs(shared_folder):
    async def install() -> str:
        connection = await asyncpg.connect(
            f"postgresql://postgres@/prefect?host={embedded.socket_folder(shared_folder)}"
        )
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        found = await connection.fetchval("SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'")
        await connection.close()
        return found

    assert asyncio.run(install()) == "pg_trgm"


def test_the_server_listens_on_no_network_address_and_takes_200_connections(shared_folder):
    url = embedded.url(shared_folder)
    assert ask(url, "SHOW listen_addresses") == ""
    assert ask(url, "SHOW max_connections") == "200"
    assert psutil.Process(server_pid(shared_folder)).net_connections("tcp") == []


def test_lower_case_is_right_for_letters_beyond_ascii(shared_folder):
    assert ask(embedded.url(shared_folder), "SELECT lower('ÉÜЖ')") == "éüж"


def test_what_was_written_survives_a_stop(data_folder):
    url = embedded.start(data_folder)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT 7 AS number"))
    engine.dispose()
    assert embedded.stop(data_folder) is True
    assert embedded.is_running(data_folder) is False
    embedded.start(data_folder)
    assert ask(url, "SELECT number FROM kept") == 7


def test_stop_ends_open_connections(data_folder):
    connection = psycopg2.connect(embedded.start(data_folder).replace("+psycopg2", ""))
    assert embedded.stop(data_folder) is True
    connection.close()


def test_stopping_what_does_not_run_says_so(data_folder):
    assert embedded.stop(data_folder) is False
    assert not data_folder.exists()


def test_two_processes_may_start_it_at_once(data_folder):
    command = [sys.executable, "-c", START, str(data_folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in started:
        out, err = process.communicate(timeout=60)
        assert (out.strip(), err) == (embedded.url(data_folder), "")
    assert embedded.is_running(data_folder)


def test_the_server_outlives_the_process_that_started_it_and_its_ctrl_c(data_folder):
    code = START + "; import os, signal; os.killpg(0, signal.SIGINT)"
    subprocess.run(
        [sys.executable, "-c", code, str(data_folder)], start_new_session=True, capture_output=True, check=False
    )
    time.sleep(0.1)
    assert embedded.is_running(data_folder)


def test_after_a_crash_it_starts_again(data_folder):
    url = embedded.start(data_folder)
    processes = psutil.Process(server_pid(data_folder))
    for process in [*processes.children(), processes]:
        with suppress(psutil.NoSuchProcess):  # one child ends because another did
            process.kill()
    psutil.wait_procs([processes], timeout=5)
    assert embedded.is_running(data_folder) is False
    embedded.start(data_folder)
    assert ask(url, "SELECT 1") == 1


def test_a_pid_that_belongs_to_something_else_since_is_no_obstacle(data_folder):
    url = embedded.start(data_folder)
    pid_file = embedded.server_folder(data_folder) / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    embedded.stop(data_folder)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert embedded.is_running(data_folder) is False
    assert embedded.stop(data_folder) is False
    embedded.start(data_folder)
    assert ask(url, "SELECT 1") == 1


def test_a_half_made_cluster_is_made_again(data_folder):
    unfinished = data_folder / "postgres.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    assert ask(embedded.start(data_folder), "SELECT 1") == 1
    assert not unfinished.exists()


def test_a_long_folder_name_gets_a_short_socket(own_folder):
    folder = own_folder / ("long" * 30) / "with spaces and 'quotes'"
    url = embedded.start(folder)
    try:
        assert len(os.fsencode(embedded.socket_folder(folder) / embedded.SOCKET_NAME)) <= 107
        assert ask(url, "SELECT 1") == 1
        assert embedded.url(folder) == url
        sockets = embedded.socket_folder(folder)
        assert sockets.stat().st_mode & 0o077 == 0
    finally:
        embedded.stop(folder)
    assert not sockets.exists()


def test_a_socket_folder_of_somebody_else_is_refused(own_folder, monkeypatch):
    folder = own_folder / ("long" * 30)
    lure = own_folder / "lure"
    lure.mkdir()
    monkeypatch.setattr(embedded, "socket_folder", lambda _folder: own_folder / "link")
    (own_folder / "link").symlink_to(lure)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        embedded.start(folder)


def test_a_folder_with_an_odd_name_works(own_folder):
    folder = own_folder / "it's 100% &c"
    url = embedded.start(folder)
    try:
        assert ask(url, "SELECT current_database()") == "visibility"
    finally:
        embedded.stop(folder)


def test_a_folder_that_cannot_be_written_is_named_in_one_sentence(own_folder):
    (own_folder / "file").write_text("not a folder")
    with pytest.raises(ConfigurationError) as caught:
        embedded.start(own_folder / "file" / "data")
    assert caught.value.message == (
        f"The data folder {own_folder}/file/data cannot be written (Not a directory); "
        "set VISIBILITY_DATA_FOLDER or DATABASE_URL."
    )
    assert embedded.stop(own_folder / "file" / "data") is False


def test_a_cluster_that_postgres_refuses_is_explained_by_its_own_complaint(data_folder):
    embedded.start(data_folder)
    embedded.stop(data_folder)
    (embedded.server_folder(data_folder) / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigurationError, match=r"failed in pg_ctl: .*FATAL.*") as caught:
        embedded.start(data_folder)
    assert "\n" not in caught.value.message


def test_a_platform_without_the_wheel_is_told_to_set_a_url(data_folder, monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"No embedded Postgres .* set DATABASE_URL"):
        embedded.start(data_folder)


def test_settings_of_other_postgres_tools_do_not_disturb_it(data_folder, monkeypatch):
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGHOST", "db.invalid")
    monkeypatch.setenv("PGUSER", "stranger")
    assert ask(embedded.start(data_folder), "SELECT current_user") == "postgres"


def test_only_its_own_user_may_enter_the_folder_of_the_cluster(shared_folder):
    assert embedded.server_folder(shared_folder).stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
def test_root_runs_it_as_another_user_and_opens_no_folder_for_reading(own_folder):
    private = own_folder / "private"
    private.mkdir(mode=0o700)
    embedded.start(private / "data")
    try:
        assert psutil.Process(server_pid(private / "data")).username() == embedded.SYSTEM_USER
        assert private.stat().st_mode & 0o777 == 0o701
    finally:
        embedded.stop(private / "data")


def test_connect_starts_and_migrates_it_without_a_database_url(data_folder):
    settings = Settings(VISIBILITY_DATA_FOLDER=data_folder)
    for _ in range(2):
        database = connect(settings)
        database.check()
        database.close()
    assert migrate.current(embedded.url(data_folder)) == migrate.head()


def test_with_a_database_url_nothing_embedded_is_touched(data_folder, database_url):
    connect(Settings(VISIBILITY_DATA_FOLDER=data_folder, database_url=database_url)).close()
    assert not data_folder.exists()


def test_a_stopped_server_is_unavailable_and_serves_again_after_a_start(data_folder):
    database = Database(embedded.start(data_folder))
    database.check()
    embedded.stop(data_folder)
    with pytest.raises(DatabaseUnavailable):
        database.check()
    embedded.start(data_folder)
    database.check()
    database.close()


def test_a_killed_test_run_leaves_nothing_for_the_next(own_folder):
    """The next run finds the folder of the dead one, stops its server and removes it."""
    code = (
        "import os, sys, json; from pathlib import Path; from tests.support import postgres\n"
        "folder = postgres.create_run_folder(); url = postgres.server(folder, None)\n"
        "print(json.dumps(str(folder)), flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(own_folder)}
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert killed.stdout, killed.stderr
    folder = Path(json.loads(killed.stdout))
    assert killed.returncode == -signal.SIGKILL
    assert embedded.is_running(folder / "data")
    clean = "from tests.support import postgres; postgres.remove_stale_run_folders()"
    subprocess.run([sys.executable, "-c", clean], env=environment, check=True)
    assert not folder.exists()
