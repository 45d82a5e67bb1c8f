"""What a release brings, from CHANGELOG.md: `python deployments/release_notes.py v1.2.3`.

Ends with 1 when the tag is not the version of pyproject.toml or the changelog has no dated section about it. Needs
nothing installed: a release calls it in a bare checkout.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"^## \[(?P<version>[^]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """One version of the changelog; without a date it is not released."""

    version: str
    date: str | None
    text: str


def sections(changelog: str) -> list[Section]:
    """Return the sections as they stand, the newest first."""
    found = list(SECTION.finditer(changelog))
    ends = [match.start() for match in found[1:]] + [len(changelog)]
    return [Section(match["version"], match["date"], changelog[match.end() : end].strip())
            for match, end in zip(found, ends, strict=True)]  # fmt: skip


def project_version() -> str:
    """Return the version of this checkout, installed or not."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def release_notes(tag: str, version: str, changelog: str) -> str:
    """Return the text of the version's section; raises ValueError with one sentence when this is no release."""
    if tag != f"v{version}":
        raise ValueError(f"The tag is {tag}, the version of pyproject.toml {version}.")
    for section in sections(changelog):
        if section.version == version and section.date and section.text:
            return section.text
    raise ValueError(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'.")


if __name__ == "__main__":
    try:
        if len(sys.argv) != 2:
            raise ValueError("Give the tag: python deployments/release_notes.py v1.2.3")
        print(release_notes(sys.argv[1], project_version(), (ROOT / "CHANGELOG.md").read_text()))
    except ValueError as error:
        raise SystemExit(str(error)) from None
