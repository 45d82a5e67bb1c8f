"""The prompts, kept as files: a first line `version: N`, a blank line, the text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Prompt:
    """A static system prompt; `version` is raised by hand with every change of the text."""

    name: str
    version: int
    text: str

    @property
    def digest(self) -> str:
        """Eight hex digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]


@cache
def load_prompt(name: str) -> Prompt:
    """Return the prompt of `visibility/prompts/{name}.md`."""
    head, _, text = files("visibility").joinpath(f"prompts/{name}.md").read_text("utf-8").partition("\n\n")
    return Prompt(name, int(head.removeprefix("version:")), text.strip())
