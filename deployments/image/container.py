"""Run a command in an image's file system as a container engine would, as far as Linux alone can.

Its own process, mount and network namespaces (the command is process 1), the image's user, environment and working
directory, a read-only root, /tmp in memory, no capabilities. Not there: limits of memory and CPU, seccomp.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from deployments.image.network import Network

ENTER = """
set -e
root=$1 hosts=$2 volume=$3 kept=$4
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$hosts" "$root/etc/hosts"
# a new volume has the owner that the image's folder has
for one in $kept; do mount -t tmpfs -o uid=$(stat -c %u "$root$one"),mode=755 kept "$root$one"; done
if [ -n "$volume" ]; then mount --bind -o ro "$volume" "$root/mnt"; fi
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""
HARDENED = ("--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
COMMAND_SECONDS = 300
APPEAR_SECONDS = 10


class DidNotEnd(Exception):
    """A container does not end on SIGTERM within its grace."""


@dataclass(frozen=True)
class Image:
    """An image's file system and its configuration: User, Env, Cmd, WorkingDir."""

    root: Path
    configuration: Mapping[str, Any]

    def as_user(self, words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Return what runs a command in the image's root as its user, without rights."""
        user, group = self.configuration["User"].split(":")
        settings = [*self.configuration["Env"], *(f"{name}={value}" for name, value in environment.items())]
        # a shell that starts this in the background has SIGINT ignored, which a container would inherit
        return ["setpriv", f"--reuid={user}", f"--regid={group}", *HARDENED,
                "env", "-i", "--default-signal", "-C", self.configuration["WorkingDir"], *settings, *words]  # fmt: skip


@dataclass(frozen=True)
class Container:
    """An image, the name under which it runs in a network, and what it is told."""

    image: Image
    network: Network
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    volume: Path | None = None  # seen as /mnt
    kept: Sequence[str] = ()  # where an empty volume of its own is mounted

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as process 1 to its end."""
        command = self._command(words)
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                output, errors = process.communicate(timeout=COMMAND_SECONDS)
            finally:
                _kill(process)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    @contextmanager
    def running(self, words: Sequence[str], log: Path) -> Iterator[Running]:
        """Run a command as process 1 until the block ends; what still runs then is killed."""
        with log.open("w") as file:
            command = self._command(words)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            try:
                yield Running(self, process, log)
            finally:
                _kill(process)

    def _command(self, words: Sequence[str]) -> list[str]:
        inside = ["sh", "-c", ENTER, "enter", str(self.image.root), str(self.network.hosts), str(self.volume or ""),
                  " ".join(self.kept), *self.image.as_user(words, self.environment)]  # fmt: skip
        return self.network.inside(self.name, ["unshare", "--pid", "--fork", *inside])


@dataclass(frozen=True)
class Running:
    """A command that runs in a container."""

    container: Container
    process: subprocess.Popen[bytes]
    log: Path

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the same container to its end."""
        inside = self.container.image.as_user(words, self.container.environment)
        enter = ["nsenter", f"--target={self._process_one().pid}", "--mount", "--net", "--pid", "--root", "--"]
        return subprocess.run(
            [*enter, *inside], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip

    def stop(self, grace_seconds: float) -> float:
        """Send SIGTERM to process 1 and wait for its end; return the seconds it took.

        Raises DidNotEnd when the signal does not end it within its grace.
        """
        began = time.monotonic()
        self._process_one().send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=grace_seconds)
        except subprocess.TimeoutExpired:
            raise DidNotEnd(f"still runs {grace_seconds:.0f} s after SIGTERM") from None
        return time.monotonic() - began

    @property
    def ended(self) -> bool:
        """Say whether the command has ended by itself."""
        return self.process.poll() is not None

    def _process_one(self) -> psutil.Process:
        """The command itself: everything before it has been replaced by it."""
        deadline = time.monotonic() + APPEAR_SECONDS
        while not (children := psutil.Process(self.process.pid).children()):
            if time.monotonic() > deadline:
                raise DidNotEnd("has not begun")
            time.sleep(0.05)
        return children[0]


def _kill(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill process 1, and with it all of its namespace; `unshare --kill-child` no longer does once the user changes."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
        process.wait()
