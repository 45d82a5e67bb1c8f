"""Ports and health of services on this machine, by the standard library: an HTTP client costs 0.2 s to import."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import psutil

HOST = "127.0.0.1"


def free_port(preferred: int | None = None) -> int:
    """Return `preferred` when nothing listens there, else a port that the system picks."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("the system has no free port")


def listens(process_id: int, port: int | None) -> bool:
    """Say whether this process itself has the port."""
    try:
        connections = psutil.Process(process_id).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def answers(url: str, *, timeout_seconds: float = 2) -> bool:
    """Say whether `url` answers with anything but a server error; 401 and 404 show a living server too."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except (OSError, ValueError):
        return False
