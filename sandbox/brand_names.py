"""How the sandbox's reader finds brands in a text: those it knows, and what is written like a name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from sandbox import lexicon

EMPHASISED = re.compile(r"\*\*\[?([^*\[\]\n]{2,60}?)\]?(?:\([^)\s]*\))?\*\*")
LISTED = re.compile(r"^\s*(?:#{1,6}|[-*•]|\d+[.)])\s+([A-Z][\w&.'’-]*(?: (?:&|and|of|[A-Z][\w&.'’-]*))*)", re.M)
LONGER_NAME = re.compile(r"(?: [A-Z][a-z]+)+")
NAME_BEFORE = re.compile(r"(?<!\w)([A-Z][a-z]+) $")
PROPER = re.compile(r"(?<![\w/@.&-])[A-Z][\w'’-]*(?: (?:(?:&|of) )?[A-Z][\w'’-]*)+")
SINGLE = re.compile(r"(?<=[a-z,] )[A-Z][a-z]\w+|(?<!\w)[A-Z][a-z]\w+(?= (?:offers|serves|stands|has|is)\b)")
BLOT = "\x00"
WORD = re.compile(r"\w[\w'’]*")
NOT_BRANDS = frozenset(
    {"rating", "company", "name", "price", "what", "which", "here", "note", "address", "phone", "website"}
    | {"pros", "cons", "overview", "they", "their", "another", "some", "be", "customers", "good", "always", "a", "the"}
)
# Words that are capitalised because a sentence begins with them, not because they belong to the name that follows.
OPENERS = NOT_BRANDS | frozenset(
    {"about", "also", "alternatives", "and", "ask", "at", "both", "but", "by", "call", "choose", "compare", "consider"}
    | {"contact", "for", "from", "give", "how", "if", "in", "is", "it", "like", "look", "nobody", "not", "on", "or"}
    | {"set", "that", "there", "this", "to", "today", "try", "use", "visit", "when", "while", "why", "with", "would"}
)


@lru_cache(maxsize=512)
def names_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern that finds any of the names as whole words, in any case; without names it finds nothing."""
    longest_first = sorted({name for name in names if len(name) > 2}, key=len, reverse=True)
    pieces = [re.sub(r"(?:\\[ -])+", r"[\\s\\-]*", re.escape(name)) for name in longest_first]
    return re.compile(rf"(?<![\w/@.])(?:{'|'.join(pieces) or '(?!)'})(?![\w@]|\.\w)", re.I)


def is_part_of_a_longer_name(match: re.Match[str], text: str) -> bool:
    """Tell "Community Financial Group" and "First Community Financial" from "Community Financial"."""
    if LONGER_NAME.match(text, match.end()):
        return True
    before = NAME_BEFORE.search(text, max(0, match.start() - 40), match.start())
    return before is not None and before.group(1).lower() not in OPENERS


def is_ordinary_use(match: re.Match[str]) -> bool:
    """Tell "a community financial institution": several words, none of them capitalised."""
    return " " in match.group() and match.group().islower()


def find_brands(blocks: Sequence[str], own_names: tuple[str, ...]) -> list[str]:
    """Return the names of brands in order of appearance: known ones, the org's, emphasised or listed ones.

    Without an org's names, everything that is written like a name counts.
    """
    text = "\n".join(blocks)
    found: dict[str, int] = {}
    known = list(_known_brands(text))
    for name, start in known:
        found.setdefault(name, start)
    for match in names_pattern(own_names).finditer(text):
        found.setdefault(_longest_name(match, text), match.start())
    for name, start in () if own_names else _proper_names(text, known):
        found.setdefault(name, start)
    for expression in (EMPHASISED, LISTED):
        for match in expression.finditer(text):
            name = match.group(1).strip(" :–-")
            if _looks_like_a_brand(name):
                found.setdefault(name, match.start(1))
    return sorted(found, key=lambda name: found[name])


def _longest_name(match: re.Match[str], text: str) -> str:
    """Return the match together with the capitalised words right after it."""
    longer = LONGER_NAME.match(text, match.end())
    return match.group() + (longer.group() if longer else "")


def _looks_like_a_brand(name: str) -> bool:
    words = name.split()
    return bool(words) and name[0].isupper() and len(words) <= 5 and words[0].lower().strip(":") not in NOT_BRANDS


def _proper_names(text: str, known: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Yield capitalised names with their offsets, outside of the known ones; those of several words first."""
    for name, start in known:
        text = _without(text, name, start)
    for expression, least in ((PROPER, 2), (SINGLE, 1)):
        for match in list(expression.finditer(text)):
            words = match.group().split()
            while words and words[0].lower() in OPENERS:
                words.pop(0)
            name = " ".join(words)
            if len(words) >= least and not name.isupper():
                start = match.end() - len(name)
                text = _without(text, name, start)
                yield name, start


def _without(text: str, name: str, start: int) -> str:
    """Return the text with the name blotted out, so that no part of it is found again and no offset moves."""
    return f"{text[:start]}{BLOT * len(name)}{text[start + len(name) :]}"


def _by_first_word(names: Iterable[str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=len, reverse=True):
        first = WORD.search(name)
        if first:
            index[first.group()].append(name)
    return dict(index)


_BRAND_INDEX = _by_first_word(lexicon.ALL_BRANDS)
_BRAND_START = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(_BRAND_INDEX)))})\b")


def _known_brands(text: str) -> Iterator[tuple[str, int]]:
    for match in _BRAND_START.finditer(text):
        for name in _BRAND_INDEX[match.group()]:
            if text.startswith(name, match.start()):
                yield name, match.start()
                break
