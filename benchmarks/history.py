"""P14, its part of Postgres: what one org lacks of its network, found in a year of everybody's history.

    python -m benchmarks --only P14 --rows 20000000      half an hour, 26 GB of disk; writes the plans

Two databases hold the same network with the same year of its own; the small one holds nine other orgs beside it, the
large one as many as make the rows. `find_missing` is timed in both, warm and right after Postgres was stopped and its
files were put out of the memory, and its statement is explained as it was sent.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event

from benchmarks import report
from benchmarks.past import VERSION, Past, seed
from visibility.errors import ConfigurationError
from visibility.store import embedded, migrate
from visibility.store.database import Database
from visibility.store.networks import find_missing

SMALL_ROWS = 200_000
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
    """One look: milliseconds of `find_missing` cold (the first) and warm, question runs found, plans by moment."""

    cold: float
    found: int
    warm: list[float] = field(default_factory=list)
    plans: dict[str, str] = field(default_factory=dict)


def measure(rows: int, output: Path) -> list[report.Figure]:
    """Seed, look, remove everything; the plans are written to `output`. Raises ConfigurationError without room."""
    today = datetime.now(UTC).date()
    with _server_folder(rows) as data_folder:
        small, small_looks = _one(data_folder / "small", min(SMALL_ROWS, rows), today)
        large, large_looks = _one(data_folder / "large", rows, today)
    _write_plans(output, large, large_looks)
    return [
        figure for case, look in large_looks.items() for figure in _figures(case, look, small_looks[case], small, large)
    ]


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


def _one(data_folder: Path, rows: int, today: date) -> tuple[Past, dict[str, Looked]]:
    """Seed a server of its own, look, stop it and remove its files."""
    try:
        url = embedded.start(data_folder, WHILE_SEEDING)
        migrate.upgrade(url)
        past = seed(url, rows, today)
        return past, {case: _look(data_folder, past, *given) for case, given in _cases(past, today).items()}
    finally:
        embedded.stop(data_folder)
        shutil.rmtree(data_folder, ignore_errors=True)


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
    statement, parameters = sent[-1]
    plans = {"warm": _explained(data_folder, statement, parameters)}
    embedded.stop(data_folder)
    _forget(data_folder)
    embedded.start(data_folder)
    plans["cold"] = _explained(data_folder, statement, parameters)
    return Looked(cold, found, warm, plans)


def _timed(database: Database, network_id: UUID, org_id: UUID, since: date) -> tuple[float, int]:
    with database.transaction() as session:
        session.connection()  # opening it is not what is measured
        began = time.perf_counter()
        found = find_missing(session, org_id, network_id, since, VERSION, sandbox=False)
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


def _figures(case: str, look: Looked, small: Looked, few: Past, many: Past) -> Iterator[report.Figure]:
    note = f"{many.rows:,} question runs, {many.evaluations:,} evaluations, {many.gigabytes:.1f} GB; {look.found} found"
    yield report.Figure("P14", f"find missing, {case}", median(look.warm), None, "ms", note, look.warm)
    ratio = median(look.warm) / median(small.warm)
    beside = f"the same beside {few.rows:,} question runs takes {median(small.warm):.1f} ms, {small.cold:.0f} ms cold"
    yield report.Figure("P14", f"÷ with a small history, {case}", ratio, None, "×", beside)
    yield report.Figure("P14", f"first look on a cold server, {case}", look.cold, None, "ms")


def _write_plans(output: Path, past: Past, looks: dict[str, Looked]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    parts = [f"{past}"]
    for case, look in looks.items():
        parts += [f"\n=== {case}, {moment}\n{plan}" for moment, plan in look.plans.items()]
    (output / f"find-missing-{datetime.now(UTC):%Y-%m-%dT%H%M%S}.txt").write_text("\n".join(parts))
