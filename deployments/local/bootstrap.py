"""What the local Prefect server needs besides deployments, by `deployments.bootstrap` in a process of its own.

In a process of its own, because that imports Prefect and the local commands do not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deployments.local.environment import child_environment
from deployments.local.processes import Say
from visibility.errors import ConfigurationError


def bootstrap(data_folder: Path, api_url: str, *, say: Say) -> None:
    """Create or update the pool `local`, limits, block types and automations; say what changed.

    Raises ConfigurationError with what bootstrap says when it refuses.
    """
    done = subprocess.run(
        [sys.executable, "-m", "deployments.bootstrap", "--pool", "local"],
        env=child_environment(data_folder, {"PREFECT_API_URL": api_url}),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ConfigurationError((done.stderr.strip().splitlines() or ["The Prefect server could not be set up."])[-1])
    changed = [line for line in done.stdout.splitlines() if line.startswith(("created", "updated"))]
    if changed:
        say(f"Set up the Prefect server: {len(changed)} pools, limits, blocks and automations.")
