"""What a test must not see of the machine it runs on."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOREIGN_PREFIXES = (
    "ANTHROPIC_", "AWS_", "AZURE_", "BRIGHTDATA_", "LINKUP_", "LLM_", "OPENAI_", "OTEL_", "PG", "PREFECT_", "SLACK_",
    "VISIBILITY_", "XDG_",
)  # fmt: skip
FOREIGN_NAMES = (
    "DATABASE_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "EVALUATION_MODEL",
    "NAMES_MODEL",
)


class NetworkAccess(RuntimeError):
    """A test tried to leave this machine."""


def clean_environment(home: Path) -> None:
    """Remove keys and settings of the caller, point every folder into `home`, switch telemetry off."""
    for name in list(os.environ):
        if name.upper() in FOREIGN_NAMES or name.upper().startswith(FOREIGN_PREFIXES):
            del os.environ[name]
    home.mkdir(exist_ok=True)
    os.environ.update(
        HOME=str(home),
        XDG_DATA_HOME=str(home / "data"),
        XDG_CONFIG_HOME=str(home / "config"),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_STATE_HOME=str(home / "state"),
        VISIBILITY_DATA_FOLDER=str(home / "visibility"),
        PREFECT_HOME=str(home / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        DO_NOT_TRACK="1",
    )


def refuse_network() -> None:
    """Let sockets reach this machine only; names other than its own are not looked up."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect_here(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
                raise NetworkAccess(f"A test tried to connect to {address[0]}.")
            return original(self, address)

        return connect_here

    def getaddrinfo_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_here(host):
            raise NetworkAccess(f"A test tried to look up {host}.")
        return getaddrinfo(host, *args, **kwargs)

    socket.socket.connect = guarded(connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded(connect_ex)  # type: ignore[method-assign]
    socket.getaddrinfo = getaddrinfo_here


def _is_here(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return bool(name.endswith(".localhost"))
    return address.is_loopback or address.is_unspecified
