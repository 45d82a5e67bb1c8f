"""P14 by history: what an org costs, and what it lacks of its network, in a database with a year of everybody's past.

    python -m benchmarks --only HISTORY --rows 20000000      a quarter of an hour, 26 GB of disk; writes the plans

Two databases hold the same network with the same year of its own; the small one holds nine other orgs beside it, the
large one as many as make the rows. New orgs are evaluated in both, and `find_missing` is timed in both, warm and right
after Postgres was stopped and its files were put out of the memory; its statement is explained as it was sent.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event

from benchmarks import report, shards, town
from benchmarks.nights import FLAT, WARM, Streets, today
from benchmarks.past import VERSION, Past, seed
from benchmarks.plan import Plan
from benchmarks.shards import Ran, Shards
from benchmarks.stage import Stage
from visibility.errors import ConfigurationError
from visibility.store import embedded, migrate
from visibility.store.database import Database
from visibility.store.networks import find_missing

SMALL_ROWS = 200_000
FIRST_ORG = 1250  # in the names that exist, after those of nights.py
BYTES_PER_ROW = 1300  # of disk, with indexes, evaluations, charges, and what making an index needs meanwhile
REPEATS = 20
USUAL, WHOLE = 30, 365  # days back: the default, and the year that somebody asks for
WHILE_SEEDING = MappingProxyType(
    {
        "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off",
        "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB", "shared_buffers": "2GB",
    }
)  # fmt: skip


@dataclass
class Looked:
    """One look: milliseconds of `find_missing` cold (the first) and warm, question runs found, the plan."""

    cold: float
    found: int
    warm: list[float]
    plan: str


@dataclass(frozen=True)
class Measured:
    """One database: its looks by case, and the shards that ran in it."""

    past: Past
    looks: dict[str, Looked]
    ran: list[Ran]


def measure(stage: Stage, plan: Plan) -> list[report.Figure]:
    """Seed, look, evaluate, remove everything; the plans are written. Raises ConfigurationError without room."""
    streets = Streets(town.build(FIRST_ORG, 2 * plan.history_runs * (plan.history_orgs + WARM)))
    url = stage.sandbox("sandbox-history", "--no-latency", "--seed", "11")
    town.tell(url, streets.town.orgs)

    def shards_in(data_folder: Path) -> Shards:
        orgs = streets.take(plan.history_orgs)
        return Shards(url, orgs, streets.take(WARM), today(), database_url=embedded.url(data_folder),
                      results_folder=data_folder)  # fmt: skip

    with _server_folder(plan.history_rows) as folder:
        rows = min(SMALL_ROWS, plan.history_rows // 10)
        small = _one(stage, folder / "small", rows, streets.town, plan.history_runs, shards_in)
        large = _one(stage, folder / "large", plan.history_rows, streets.town, plan.history_runs, shards_in)
    _write_plans(plan.output, large)
    found = [figure for case in large.looks for figure in _figures(case, small, large)]
    return [*_nights(small, large), *found]


@contextmanager
def _server_folder(rows: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="visibility-history-"))
    try:
        require_room(folder, rows)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_room(folder: Path, rows: int) -> None:
    """Raise ConfigurationError when the disk of this folder cannot hold that many rows."""
    free, needed = shutil.disk_usage(folder).free, rows * BYTES_PER_ROW
    if free < needed:
        raise ConfigurationError(
            f"{rows:,} rows of history need {needed / 1e9:,.0f} GB in {folder}, where {free / 1e9:,.0f} GB are free; "
            "give less --rows, or another TMPDIR."
        )


def _one(
    stage: Stage, data_folder: Path, rows: int, orgs: town.Town, runs: int, shards_in: Callable[[Path], Shards]
) -> Measured:
    """Seed a server of its own, look, evaluate new orgs, stop it and remove its files."""
    day = today()
    try:
        url = embedded.start(data_folder, WHILE_SEEDING)
        migrate.upgrade(url)
        past = seed(url, rows, day)
        looks = {case: _look(data_folder, past, *given) for case, given in _cases(past, day).items()}
        _move_in(url, orgs)
        return Measured(past, looks, [shards.run(stage, shards_in(data_folder)) for _ in range(runs)])
    finally:
        embedded.stop(data_folder)
        shutil.rmtree(data_folder, ignore_errors=True)


def _move_in(url: str, orgs: town.Town) -> None:
    database = Database(url)
    try:
        with database.transaction() as session:
            town.seed(session, orgs)
    finally:
        database.close()


def _cases(past: Past, today: date) -> dict[str, tuple[UUID, date]]:
    return {
        "one day missing of the last 30": (past.org_id, today - timedelta(days=USUAL)),
        "a newcomer's last 30 days": (past.newcomer_id, today - timedelta(days=USUAL)),
        "one day missing of a year": (past.org_id, today - timedelta(days=WHOLE)),
        "a newcomer's whole year": (past.newcomer_id, today - timedelta(days=WHOLE)),
    }


def _look(data_folder: Path, past: Past, org_id: UUID, since: date) -> Looked:
    """Time `find_missing` on a server that has just been started and whose files are not in memory, then warm."""
    embedded.stop(data_folder)
    _forget(data_folder)
    database = Database(embedded.start(data_folder))
    try:
        with _sent() as sent:
            cold, found = _timed(database, past.network_id, org_id, since)
        warm = [_timed(database, past.network_id, org_id, since)[0] for _ in range(REPEATS)]
    finally:
        database.close()
    return Looked(cold, found, warm, _explained(data_folder, *sent[-1]))


def _timed(database: Database, network_id: UUID, org_id: UUID, since: date) -> tuple[float, int]:
    with database.transaction() as session:
        session.connection()  # opening it is not what is measured
        began = time.perf_counter()
        found = find_missing(session, org_id, network_id, since, VERSION, sandbox=True)
        return (time.perf_counter() - began) * 1000, sum(len(batch.run_ids) for batch in found)


@contextmanager
def _sent() -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are sent meanwhile, with their parameters as the driver gets them."""
    sent: list[tuple[str, Any]] = []

    def add(*arguments: Any) -> None:
        sent.append((arguments[2], arguments[3]))

    event.listen(Engine, "before_cursor_execute", add)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", add)


def _explained(data_folder: Path, statement: str, parameters: Any) -> str:
    database = Database(embedded.url(data_folder))
    try:
        with database.transaction() as session:
            cursor = session.connection().connection.cursor()
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, SETTINGS) {statement}", parameters)
            return "\n".join(line for (line,) in cursor.fetchall())
    finally:
        database.close()


def _forget(folder: Path) -> None:
    """Write a stopped server's files to the disk and put them out of the memory, where the system can do that."""
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _nights(small: Measured, large: Measured) -> Iterator[report.Figure]:
    """Compare what new orgs cost: the least of each, because what else runs on the machine only adds."""
    few, many = f"{small.past.rows:,} question runs", f"{large.past.rows:,} question runs"
    orgs = f"{large.ran[0].orgs} new orgs"
    kinds: tuple[tuple[str, str, Callable[[Ran], float], float | None], ...] = (
        ("CPU per org", "s", lambda ran: ran.cpu_per_org, FLAT),
        ("statements per org", "", lambda ran: ran.statements_per_org, FLAT),
        ("CPU of Postgres per org", "s", lambda ran: ran.services["Postgres, results"], None),
    )
    for what, unit, value, budget in kinds:
        theirs, ours = [value(ran) for ran in small.ran], [value(ran) for ran in large.ran]
        beside = f"beside {few}: {min(theirs):.4g} {unit}".rstrip()
        name = f"{what}, {orgs}, {many} ÷ {few}"
        yield report.Figure("P14", name, min(ours) / min(theirs), budget, "×", beside)
        yield report.Figure("P14", f"{what}, {orgs}, {many}", min(ours), None, unit, samples=ours)


def _figures(case: str, small: Measured, large: Measured) -> Iterator[report.Figure]:
    few, many, less, look = small.past, large.past, small.looks[case], large.looks[case]
    note = f"{many.rows:,} question runs, {many.evaluations:,} evaluations, {many.gigabytes:.1f} GB; {look.found} found"
    yield report.Figure("P14", f"find missing, {case}", median(look.warm), None, "ms", note, look.warm)
    ratio = median(look.warm) / median(less.warm)
    beside = f"the same beside {few.rows:,} question runs takes {median(less.warm):.1f} ms, {less.cold:.0f} ms cold"
    yield report.Figure("P14", f"÷ with a small history, {case}", ratio, None, "×", beside)
    yield report.Figure("P14", f"first look on a cold server, {case}", look.cold, None, "ms")


def _write_plans(output: Path, large: Measured) -> None:
    output.mkdir(parents=True, exist_ok=True)
    parts = [f"{large.past}", *(f"\n=== {case}\n{look.plan}" for case, look in large.looks.items())]
    (output / f"find-missing-{datetime.now(UTC):%Y-%m-%dT%H%M}.txt").write_text("\n".join(parts))
