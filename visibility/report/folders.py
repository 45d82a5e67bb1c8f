"""Where a report's files come to lie: a folder of their own, there as a whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from unicodedata import normalize
from uuid import uuid4

from visibility.errors import InvalidInput
from visibility.store.report_sums import ReportWindow

PAGE = "report.html"
LONGEST_NAME = 40  # characters
UNFINISHED = ".unfinished-"


def folder_of(owner_name: str, window: ReportWindow, made_at: datetime) -> str:
    """Return `<owner>/<window>-<made at>`: whose report it is, what it covers, when it was made (UTC)."""
    latin = normalize("NFKD", owner_name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "-", latin).strip("-")[:LONGEST_NAME].strip("-")
    owner = f"{plain}-{str(window.owner_id)[:8]}".lstrip("-")
    return f"{owner}/{window.since}_{window.until}-{made_at:%Y%m%dT%H%M%SZ}"


def check_writable(folder: Path) -> None:
    """Make the folder where it is missing; raises InvalidInput when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"Reports cannot be written to {folder}: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"Reports cannot be written to {folder}: permission denied.")


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Give a folder inside `folder` to write into, which is gone afterwards unless it was moved away."""
    scratch = folder / f"{UNFINISHED}{uuid4().hex}"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def move_into_place(scratch: Path, wanted: Path) -> Path:
    """Rename the finished folder, in one step, to the wanted path; return it, numbered where another one is there."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        target = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if target.exists():
            continue
        try:
            return scratch.rename(target)
        except OSError:
            if not target.exists():
                raise
    raise AssertionError("there is always a next number")
