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

from dotenv import dotenv_values

DOTENV = Path(".env")  # in the working directory, where settings and Prefect look for it too
CREDENTIALS = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")


def prefect_home(data_folder: Path) -> Path:
    """Return the Prefect home of the local installation."""
    return data_folder.expanduser().absolute() / "prefect"


def prefect_environment(data_folder: Path, api_url: str) -> dict[str, str]:
    """Return what a flow command sets in its environment before it imports Prefect."""
    if api_url == configured_api_url():
        return {}
    return {"PREFECT_API_URL": api_url, "PREFECT_HOME": str(prefect_home(data_folder)), "DO_NOT_TRACK": "1"}


def configured_api_url() -> str | None:
    """Return the API URL of PREFECT_API_URL (environment or `.env`), or else of the active Prefect profile."""
    return _configured("PREFECT_API_URL")


def _configured(name: str) -> str | None:
    """Return a setting of the environment, `.env`, or the active Prefect profile, in this order, as Prefect does."""
    if value := os.environ.get(name) or dotenv_values(DOTENV).get(name):
        return value
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles_file = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    try:
        content = tomllib.loads(profiles_file.read_text())
        active = os.environ.get("PREFECT_PROFILE", content.get("active"))
        value = content.get("profiles", {}).get(active, {}).get(name)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, str) else None


def dotenv_settings() -> dict[str, str]:
    """Return the product's settings of `.env`, for a process that has another working directory.

    Without those of Prefect: which API a process of ours talks to is decided here.
    """
    found = dotenv_values(DOTENV)
    return {name: value for name, value in found.items() if value is not None and not name.startswith("PREFECT_")}


def child_environment(data_folder: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without the user's Prefect settings, plus `extra`.

    A stray PREFECT_API_URL or PREFECT_SERVER_… of another installation must not reach our server or worker. When
    `extra` names the API that the user has configured, the credentials for it are kept: the child reads another
    Prefect home than the user's own, and would be refused without them.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return (
        inherited
        | {
            "PREFECT_HOME": str(prefect_home(data_folder)),
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
            "MALLOC_ARENA_MAX": "2",  # glibc's heaps, one per thread otherwise: 50 MB with 100 orgs in flight
            "VISIBILITY_DATA_FOLDER": str(data_folder.expanduser().absolute()),
        }
        | _credentials(extra.get("PREFECT_API_URL"))
        | dict(extra)
    )


def _credentials(api_url: str | None) -> dict[str, str]:
    """Return the user's credentials when this is the API they are for; no other server may see them."""
    if api_url is None or api_url != configured_api_url():
        return {}
    found = {name: _configured(name) for name in CREDENTIALS}
    return {name: value for name, value in found.items() if value}
