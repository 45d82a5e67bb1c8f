"""compose.yaml as an engine reads it, as far as it is used there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from visibility.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
OURS = "senso-workflows:"


@dataclass(frozen=True)
class Service:
    """A service that runs in an image of the Dockerfile; without a health check it is run to its end."""

    name: str
    target: str  # of the Dockerfile
    command: Sequence[str]
    environment: Mapping[str, str]
    health: Sequence[str] | None
    grace_seconds: float
    volumes: Sequence[str] = ()  # where its named volumes are mounted


def our_services(path: Path, variables: Mapping[str, str]) -> list[Service]:
    """Return the services of our images, each after those that it depends on."""
    described: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    graph = {name: list(service.get("depends_on", {})) for name, service in described.items()}
    ours = [name for name in TopologicalSorter(graph).static_order() if described[name]["image"].startswith(OURS)]
    targets = {service["image"]: service["build"]["target"] for service in described.values() if "build" in service}
    return [_service(name, described[name], targets, variables) for name in ours]


def _service(
    name: str, described: Mapping[str, Any], targets: Mapping[str, str], variables: Mapping[str, str]
) -> Service:
    environment = described.get("environment", {})
    test = described.get("healthcheck", {}).get("test", [])
    return Service(
        name,
        targets[described["image"]],
        described["command"],
        {key: interpolated(str(value), variables) for key, value in environment.items()},
        test[1:] or None,  # the first word is CMD
        float(described.get("stop_grace_period", "10s").removesuffix("s")),
        [volume.partition(":")[2] for volume in described.get("volumes", [])],
    )


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Replace ${NAME}, ${NAME:-default} and ${NAME:?sentence}.

    Raises ConfigurationError with the sentence where a variable is wanted and empty.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        found = variables.get(name, "")
        if not found and operator == "?":
            raise ConfigurationError(f"{name}: {rest}")
        return found or (rest or "" if operator == "-" else "")

    return VARIABLE.sub(value, text)
