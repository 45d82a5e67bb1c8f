"""The environment of what we start, and of the command that talks to it.

Everything local lives under `PREFECT_HOME=<data folder>/prefect`: profiles, result storage and the cache of name
variations are shared by command and worker, and the user's own `~/.prefect` is neither read nor written. When the
user has configured a Prefect API, that API and the user's own home are used instead.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path


def prefect_home(data_folder: Path) -> Path:
    """Return the Prefect home of the local installation."""
    return data_folder.expanduser().absolute() / "prefect"


def prefect_environment(data_folder: Path, api_url: str) -> dict[str, str]:
    """Return what a flow command sets in its environment before it imports Prefect."""
    if api_url == configured_api_url():
        return {}
    return {"PREFECT_API_URL": api_url, "PREFECT_HOME": str(prefect_home(data_folder)), "DO_NOT_TRACK": "1"}


def configured_api_url() -> str | None:
    """Return the API URL of PREFECT_API_URL, or else of the active Prefect profile."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles_file = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    try:
        content = tomllib.loads(profiles_file.read_text())
        active = os.environ.get("PREFECT_PROFILE", content.get("active"))
        url = content.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    except (OSError, ValueError):
        return None
    return url if isinstance(url, str) else None


def child_environment(data_folder: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without the user's Prefect settings, plus `extra`.

    A stray PREFECT_API_URL or PREFECT_SERVER_… of another installation must not reach our server or worker.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return (
        inherited
        | {
            "PREFECT_HOME": str(prefect_home(data_folder)),
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
            "VISIBILITY_DATA_FOLDER": str(data_folder.expanduser().absolute()),
        }
        | dict(extra)
    )
