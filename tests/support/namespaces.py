"""Linux namespaces of one command: as process 1, or where there is no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

import pytest

# `ip link set lo up`, without iproute2
WITH_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH", b"lo", 0x41))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
os.execv(sys.argv[1], sys.argv[1:])
"""


def as_process_one(command: Sequence[str]) -> list[str]:
    """Return what runs a command as process 1 of a namespace of its own; it ends with what runs it."""
    return [*_unshare("--pid", "--fork", "--mount-proc", "--kill-child"), *command]


def without_network(command: Sequence[str]) -> list[str]:
    """Return what runs a command, its program by path, where only the loopback interface exists."""
    return [*_unshare("--net", "--keep-caps"), sys.executable, "-c", WITH_LOOPBACK, *command]


@cache
def _unshare(*arguments: str) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    command = [shutil.which("unshare") or "unshare", *user, *arguments]
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs unshare, of Linux")
    if tried.returncode:
        pytest.skip(f"namespaces are not permitted here: {tried.stderr.strip()}")
    return command
