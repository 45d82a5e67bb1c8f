"""The local sandbox process, and the settings that point the product at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from deployments.local.environment import child_environment
from deployments.local.network import HOST, answers, free_port
from deployments.local.processes import Say, running, say_on_stderr, start, starting, wait_until_healthy
from visibility.errors import ConfigurationError

if TYPE_CHECKING:
    from visibility.settings import Settings

NAME = "sandbox"
START_TIMEOUT_SECONDS = 30
TIME_SCALE = 60.0  # what a night takes fits into minutes


def ensure_sandbox(
    data_folder: Path, *, time_scale: float = TIME_SCALE, seed: int = 7, say: Say = say_on_stderr
) -> str:
    """Return the URL of a running sandbox of these options, starting one when there is none.

    `time_scale` divides the vendors' realistic latencies. Raises ConfigurationError when a sandbox of other options
    runs: what it has sold is part of a test's truth, so it is not replaced behind anybody's back.
    """
    options = {"time-scale": f"{time_scale:g}", "seed": str(seed)}
    with starting(data_folder, NAME):
        record = running(data_folder, NAME)
        if record is not None and record.options != options:
            shown = " ".join(f"--{name} {value}" for name, value in record.options.items())
            raise ConfigurationError(f"A sandbox with {shown} already runs at {record.url}; `make down` stops it.")
        if record is None:
            port = free_port()
            arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
            record = start(
                data_folder, NAME, ["sandbox", "--port", str(port), *arguments],
                environment=child_environment(data_folder, {}), url=f"http://{HOST}:{port}", options=options,
            )  # fmt: skip
        url = str(record.url)
        wait_until_healthy(record, lambda: answers(f"{url}/_health"), timeout_seconds=START_TIMEOUT_SECONDS, say=say)
    return url


def sandbox_environment(settings: Settings, url: str, time_scale: float = TIME_SCALE) -> dict[str, str]:
    """Return the environment under which another process reads `settings.for_sandbox(url, time_scale)`."""
    target = settings.for_sandbox(url, time_scale)
    environment = {"VISIBILITY_SANDBOX": "true"}
    for prefix, before, after in (
        ("BRIGHTDATA_", settings.brightdata, target.brightdata),
        ("", settings.llm, target.llm),
    ):
        for name in type(after).model_fields:
            value = getattr(after, name)
            if value != getattr(before, name):
                environment[f"{prefix}{name}".upper()] = _as_text(value)
    return environment


def _as_text(value: object) -> str:
    """Render a setting as its environment variable; an unset one as the empty text, which counts as unset."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)
