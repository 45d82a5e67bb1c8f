"""The version stands in pyproject.toml; CHANGELOG.md says what each one brought."""

from __future__ import annotations

import re
import subprocess
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.version import Version

from deployments.release_notes import project_version, release_notes, sections

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
RELEASED = """
## [Unreleased]

## [1.1.0] - 2026-12-01

### Added
- More.

## [1.0.0] - 2026-11-01

### Added
- All.
"""


def test_the_installed_version_is_that_of_pyproject():
    assert version("senso-workflows") == project_version()


def test_the_version_stands_nowhere_else():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.toml", "*.yaml", "Dockerfile"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    stated = re.compile(rf"""(?i)\bversion\w*["']?\s*[:=]\s*["']?{re.escape(project_version())}\b""")
    found = [
        path for path in listed.stdout.split() if (ROOT / path).is_file() and stated.search((ROOT / path).read_text())
    ]
    assert found == ["pyproject.toml"]


def test_the_changelog_has_the_form_of_keep_a_changelog():
    headings = [line for line in CHANGELOG.splitlines() if line.startswith("## ")]
    found = sections(CHANGELOG)
    assert len(found) == len(headings) and found[0].version == "Unreleased" and found[0].date is None
    assert all(section.date and date.fromisoformat(section.date) for section in found[1:])
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= set(KINDS)


def test_releases_stand_with_the_newest_first_and_none_is_ahead_of_the_version():
    released = [section for section in sections(CHANGELOG) if section.date]
    assert all(Version(new.version) > Version(old.version) and f"{new.date}" >= f"{old.date}"
               for new, old in pairwise(released))  # fmt: skip
    assert all(Version(section.version) <= Version(project_version()) for section in released)


def test_a_version_that_is_not_released_says_what_it_will_bring():
    if project_version() not in {section.version for section in sections(CHANGELOG)}:
        assert re.search(r"^- \S", sections(CHANGELOG)[0].text, re.MULTILINE)


def test_the_notes_of_a_release_are_its_section():
    assert release_notes("v1.1.0", "1.1.0", RELEASED) == "### Added\n- More."


@pytest.mark.parametrize(
    ("tag", "of_project", "sentence"),
    [("v1.1.0", "1.2.0", "the version of pyproject.toml 1.2.0"), ("v1.2.0", "1.2.0", r"no section '## \[1.2.0\]")],
)
def test_a_tag_without_its_version_or_its_section_is_no_release(tag: str, of_project: str, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        release_notes(tag, of_project, RELEASED)
