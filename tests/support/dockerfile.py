"""What the Dockerfile says about the image of production."""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return every instruction and its argument; continued lines are joined, comments are left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stage(name: str) -> list[tuple[str, str]]:
    """Return the instructions of one stage, its FROM first."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for instruction in instructions():
        if instruction[0] == "FROM":
            current = stages.setdefault(instruction[1].partition(" AS ")[2], [])
        if stages:
            current.append(instruction)
    return stages[name]


def command() -> list[str]:
    """Return the command of the image."""
    return list(json.loads(dict(stage("product"))["CMD"]))


def environment() -> dict[str, str]:
    """Return the environment of the image."""
    return dict(re.findall(r"([A-Z_]+)=(\S+)", dict(stage("product"))["ENV"]))
