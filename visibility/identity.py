"""Who holds a lease: a name for this process that others can check for life.

A lease protects a batch for a minute after its flow died. On the same machine that minute is not
needed: the holder's process id and start time tell whether it still lives.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from uuid import uuid4

import psutil


@cache
def _machine() -> str:
    """Name this machine so that no other container or boot shares it: host, boot, process-id namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # no /proc: other systems than Linux
        boot, namespace = str(int(psutil.boot_time())), ""
    return f"{socket.gethostname()}|{boot}|{namespace}"


def _started(process_id: int) -> str:
    """Return when a process started, in clock ticks since boot: a time of day would move when the clock is set."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:  # no /proc, or no such process, which psutil then says
        return f"{psutil.Process(process_id).create_time():.2f}"


def new_owner() -> str:
    """Return a name no other flow has: machine|process id|process start|random."""
    return f"{_machine()}|{os.getpid()}|{_started(os.getpid())}|{uuid4().hex[:12]}"


def is_alive(owner: str) -> bool | None:
    """Return whether the owner's process lives; None when it is on another machine and cannot be seen."""
    if not owner.startswith(f"{_machine()}|"):
        return None
    try:
        process_id, started, _ = owner.removeprefix(f"{_machine()}|").split("|")
        process = psutil.Process(int(process_id))
        return _started(process.pid) == started and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False
