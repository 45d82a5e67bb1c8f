"""What a test must not see of the machine it runs on."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import certifi

GUARD = Path(__file__).with_name("guard")
NETWORK_LOG, NETWORK_ALLOWED = "NETWORK_GUARD_LOG", "NETWORK_GUARD_ALLOWED"

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
    "CI",  # with these Prefect sends nothing, and that we switch it off would not be seen
    "GITHUB_ACTIONS",
)


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
        CHECKPOINT_DISABLE="1",  # terraform asks for its newest version otherwise
        SSL_CERT_FILE=str(one_certificate(home / "certificate.pem")),
    )


def one_certificate(file: Path) -> Path:
    """Write one of the certificates that every HTTP client reads when it is made: tests speak to nobody who has one.

    All of them take 30 ms, several times a flow run.
    """
    end = "-----END CERTIFICATE-----\n"
    file.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    return file


def refuse_network(log: Path, server_url: str | None) -> None:
    """Let this process and every Python process below it reach this machine and the given database server only.

    Each attempt to reach another is refused and becomes a line of `log`.
    """
    os.environ.update({"PYTHONPATH": str(GUARD), NETWORK_LOG: str(log)})
    if server_url is not None:
        os.environ[NETWORK_ALLOWED] = urlsplit(server_url).hostname or ""
    if str(GUARD) not in sys.path:
        sys.path.append(str(GUARD))
    importlib.import_module("network_guard").install()  # under the name by which processes find it, or it were two


def network_attempts(log: Path) -> list[str]:
    """Return what was refused so far, in this process or another."""
    return log.read_text().splitlines() if log.exists() else []
