"""Nothing leaves this machine; who tries is refused as in a closed network, and written down.

An audit hook sees every socket of the interpreter, asyncio's too, costs no import and cannot be taken off again. It
does not see sockets of C libraries (libpq) or of programs that are not Python.

    NETWORK_GUARD_LOG      the file with one line per attempt; nothing is written without it
    NETWORK_GUARD_ALLOWED  one more host that may be reached
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

LOG = "NETWORK_GUARD_LOG"
ALLOWED = "NETWORK_GUARD_ALLOWED"
_installed = False


class NetworkAccess(OSError):
    """A process of the tests tried to leave this machine."""


def install() -> None:
    """Watch this process and what it forks; a second call changes nothing."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        _, address = arguments
        if isinstance(address, tuple) and isinstance(address[0], str | bytes):  # neither a path nor connected before
            _require_here(event, address[0])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        _require_here(event, arguments[0])


def _require_here(event: str, host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name and not _is_here(name) and name != os.environ.get(ALLOWED):
        _write_down(f"{event} {name}")
        raise NetworkAccess(errno.ENETUNREACH, f"the tests do not leave this machine: {event} {name}")


def _is_here(name: str) -> bool:
    import ipaddress
    import socket

    if name == "localhost" or name.endswith(".localhost") or name == socket.gethostname():
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _write_down(attempt: str) -> None:
    log = os.environ.get(LOG)
    if log:
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        command = " ".join(" ".join(sys.orig_argv).split())
        line = f"{attempt} by {command[:200]} (pid {os.getpid()}, {test})\n"
        with open(log, "a") as file:
            file.write(line)
