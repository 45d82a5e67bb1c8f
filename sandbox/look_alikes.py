"""Names that are easily taken for a member of a network: longer ones, turned-round ones, and ordinary words."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sandbox.answers import WorldOrg, first_offsets
from sandbox.lexicon import GENERIC_WORDS

LOOK_ALIKE_SHARE = 0.35
ORDINARY_USE_SHARE = 0.5
MAX_LOOK_ALIKES = 3
SUFFIXES = ("Group", "Advisors", "Holdings", "Partners")
PREFIXES = ("First", "Heritage", "Greater", "Pacific")
TURNED_SUFFIXES = ("Trust", "Services")


def is_generic(name: str) -> bool:
    """Return whether the name is made of words that many names of its trade are made of."""
    return all(word.lower() in GENERIC_WORDS for word in name.split())


def draw_look_alikes(rng: random.Random, spoken_of: Sequence[WorldOrg], members: Sequence[WorldOrg]) -> list[str]:
    """Return names of strangers, each like one org that the answer speaks of.

    None holds the name of another member: whose names stand in the answer is decided before, not by chance.
    """
    found: list[str] = []
    for org in spoken_of:
        if rng.random() >= LOOK_ALIKE_SHARE or len(found) == MAX_LOOK_ALIKES:
            continue
        others = [member.name for member in members if member.name != org.name]
        strangers = [name for name in _strangers(org.name) if not first_offsets(others, name)]
        found += [rng.choice(strangers)] if strangers else []
    return found


def _strangers(name: str) -> list[str]:
    words = name.split()
    longer = [f"{name} {suffix}" for suffix in SUFFIXES]
    longer += [f"{prefix} {name}" for prefix in PREFIXES if prefix != words[0]]
    if len(words) < 2 or not is_generic(" ".join(words[:2])):
        return longer
    return longer + [f"{words[1]} {words[0]} {suffix}" for suffix in TURNED_SUFFIXES]


def draw_ordinary_uses(rng: random.Random, spoken_of: Sequence[WorldOrg]) -> list[str]:
    """Return sentences that use the words of an org's name as words; only names of two such words allow it."""
    names = [org.name.lower() for org in spoken_of if len(org.name.split()) == 2 and is_generic(org.name)]
    return [
        f"A {name} institution often charges less than a national bank. "
        for name in names
        if rng.random() < ORDINARY_USE_SHARE
    ]
