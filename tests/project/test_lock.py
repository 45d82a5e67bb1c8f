"""The locks are in step with pyproject.toml and name no place that packages come from."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements.runtime.lock", "requirements.checkov.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
DEVELOPMENT = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
# written in pieces, or this file would be its own counterexample
REGISTRY_HOSTS = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "/simple" + r"/\b", "art" + "ifactory"]))


def locked(name: str) -> dict[str, Version]:
    """Name and version of everything that a lock pins."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in pins}


@pytest.mark.parametrize("requirement", RUNTIME + DEVELOPMENT, ids=str)
def test_every_dependency_is_locked_within_its_bounds(requirement: Requirement):
    assert locked("requirements.lock")[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_the_image_runs_the_versions_that_were_tested(requirement: Requirement):
    name = canonicalize_name(requirement.name)
    assert locked("requirements.runtime.lock")[name] == locked("requirements.lock")[name]


def test_the_image_has_no_test_tools():
    assert {"pytest", "mypy", "ruff"}.isdisjoint(locked("requirements.runtime.lock"))


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_locked_has_a_hash(lock: str):
    entries = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / lock).read_text())
    assert [entry.split()[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


def test_no_file_of_the_repository_names_a_package_registry():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()] or [ROOT / lock for lock in LOCKS]
    texts = {path: path.read_bytes().decode(errors="ignore") for path in paths if path.is_file()}
    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if REGISTRY_HOSTS.search(text)] == []
