"""What the world says in one answer, together with what is true about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class WorldOrg:
    """An organisation that the world knows, with the questions that are about it."""

    name: str
    websites: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One page behind an answer; `position` counts from 1, `own` tells the org's own site."""

    url: str
    title: str
    domain: str
    position: int
    cited: bool
    own: bool


@dataclass
class Subject:
    """What is true about one org in one answer; passages are (start, end) offsets into the text."""

    name: str
    mentioned: bool = False
    absence_statement: bool = False
    sentiment: str | None = None
    rank: int | None = None
    passages: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class WorldAnswer:
    """An answer's text with its truth; `brands` are (name, first offset) in order, orgs and look-alikes included.

    Of a network's question all members are subjects, most of them not mentioned.
    """

    text: str
    subjects: list[Subject]
    brands: list[tuple[str, int]]
    look_alikes: list[str]
    sources: list[Source]
    queries: list[str]
    boilerplate: str = ""

    def truth(self) -> dict[str, Any]:
        """Return the truth as JSON; the first org's facts also stand at the top level."""
        subjects = [self._subject(subject) for subject in self.subjects]
        first = subjects[0] if subjects else asdict(Subject(name=""))
        names = {subject.name for subject in self.subjects}
        return {
            "text": self.text,
            "org": first["name"] or None,
            **{key: first[key] for key in ("mentioned", "absence_statement", "sentiment", "rank", "passages")},
            "orgs": subjects,
            "competitors": [{"name": name, "offset": at} for name, at in self.brands if name not in names],
            "look_alikes": self.look_alikes,
            "sources": [asdict(source) for source in self.sources],
            "boilerplate": self.boilerplate,
        }

    def _subject(self, subject: Subject) -> dict[str, Any]:
        passages = [{"start": a, "end": b, "text": self.text[a:b]} for a, b in subject.passages]
        return {**asdict(subject), "passages": passages}


def first_offsets(names: Iterable[str], text: str) -> dict[str, int]:
    """Return where each name first stands as whole words and not inside a longer one of the names, in text order."""
    longest_first = sorted(set(names), key=lambda name: (-len(name), name))
    found: dict[str, int] = {}
    for match in re.finditer(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})(?!\w)", text):
        found.setdefault(match.group(), match.start())
    return found
