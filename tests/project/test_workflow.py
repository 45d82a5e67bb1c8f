"""The workflows for GitHub run what a developer runs, with as few rights as they need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
WORKFLOWS: dict[str, dict[str, Any]] = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
PINNED = re.compile(r"uses: (?:\./\S+|[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)(?: #.*)?$")


def steps(workflow: str, job: str) -> list[dict[str, Any]]:
    return list(WORKFLOWS[workflow]["jobs"][job]["steps"])


def test_ci_runs_the_commands_of_contributing():
    commands = [step["run"] for step in steps("ci", "test") if "run" in step]
    assert commands == ["make setup PYTHON=python", "make check", "make test"]
    documented = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(command in documented for command in ("make check", "make test"))


def test_ci_covers_every_python_that_the_project_allows():
    allowed = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 30) if f"3.{minor}" in allowed]
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"] == minors


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_every_action_is_pinned_by_its_commit(path: Path):
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert used and [line for line in used if not PINNED.match(line)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_rights_and_a_job_those_that_it_needs(name: str):
    assert WORKFLOWS[name]["permissions"] == {}
    rights = {job: entry["permissions"] for job, entry in WORKFLOWS[name]["jobs"].items()}
    writing = [(name, job) for job, right in rights.items() if right != {"contents": "read"}]
    assert writing in ([], [("release", "release")])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_checkout_leaves_no_token_and_a_job_ends(name: str):
    for job in WORKFLOWS[name]["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 30
        checkouts = [step for step in job.get("steps", []) if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_release_needs_everything_to_pass():
    assert WORKFLOWS["release"]["jobs"]["ci"]["uses"] == "./.github/workflows/ci.yaml"
    assert WORKFLOWS["release"]["jobs"]["release"]["needs"] == "ci"
