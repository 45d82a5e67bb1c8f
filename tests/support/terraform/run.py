"""Runs the real terraform on our module, in a copy of it, with a provider that needs no registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.terraform.provider import serving

MODULE = Path(__file__).parents[3] / "deployments" / "terraform"
LEAST_VERSION = (1, 9)


def available() -> str | None:
    """Return why terraform cannot be run here, None when it can."""
    if shutil.which("terraform") is None:
        return "terraform is not installed"
    said = subprocess.run(["terraform", "version", "-json"], capture_output=True, text=True, env=_environment({}))
    version = json.loads(said.stdout)["terraform_version"]
    enough = tuple(int(part) for part in version.split(".")[:2]) >= LEAST_VERSION
    return None if enough else f"terraform {version} is older than 1.9"


def copied(folder: Path) -> Path:
    """Copy the module to a folder of its own, where state and lock files may be written."""
    shutil.copytree(MODULE, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars"))
    return folder


def terraform(folder: Path, *arguments: str, aws_url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder that holds the module; both streams are captured."""
    with serving(aws_url) as environment:
        return subprocess.run(
            ["terraform", f"-chdir={folder}", *arguments],
            env=_environment(environment), capture_output=True, text=True, timeout=100,
        )  # fmt: skip


def apply(folder: Path, aws_url: str, variables: Mapping[str, object]) -> dict[str, Any]:
    """Apply a copy of the module in `folder` to moto; return its outputs by name. Raises AssertionError."""
    if not (folder / "versions.tf").exists():
        copied(folder)
    (folder / "test.auto.tfvars.json").write_text(json.dumps(dict(variables)))
    for arguments in (("init", "-backend=false"), ("apply", "-auto-approve", "-input=false")):
        done = terraform(folder, *arguments, "-no-color", aws_url=aws_url)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return outputs(folder)


def outputs(folder: Path) -> dict[str, Any]:
    """Return the outputs of what was applied."""
    return {name: entry["value"] for name, entry in json.loads(outputs_json(folder)).items()}


def outputs_json(folder: Path) -> str:
    """Return what `terraform output -json` prints."""
    done = terraform(folder, "output", "-json")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))}
    return kept | {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull} | dict(extra)
