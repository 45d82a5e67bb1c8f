"""How large an image is, and what in it; MB are millions of bytes."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

MB = 1e6
LARGEST = 10
VENV = "opt/venv"


def sizes_of(root: Path) -> dict[str, Any]:
    """Return the MB of an image's files, of all of them compressed as a registry keeps them, and of its packages."""
    venv = root / VENV
    packages = Counter[str]()
    for place in next(venv.glob("lib/python3*/site-packages")).iterdir():
        packages[place.name.removesuffix(".libs").removesuffix("-data")] += _bytes_below(place)
    return {
        "image_mb": _mb(_bytes_below(root)),
        "compressed_mb": _mb(_compressed_bytes(root)),
        "venv_mb": _mb(_bytes_below(venv)),
        "largest_packages_mb": {name: _mb(size) for name, size in packages.most_common(LARGEST)},
    }


def _mb(size: int) -> float:
    return round(size / MB, 1)


def _bytes_below(place: Path) -> int:
    """A file with several names counts once."""
    if not place.is_dir() or place.is_symlink():
        return place.lstat().st_size
    found = {}
    for folder, _, files in os.walk(place):
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            found[status.st_ino] = status.st_size
    return sum(found.values())


def _compressed_bytes(root: Path) -> int:
    command = ["tar", "--create", "--gzip", "--one-file-system", "--directory", str(root), "."]
    size = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while process.stdout is not None and (chunk := process.stdout.read(1 << 20)):
            size += len(chunk)
    return size
