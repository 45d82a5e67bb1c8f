"""Brands of an answer: found in its text as whole words, counted, ordered, and told apart from the org."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from visibility.domain import Brand, OrgProfile, name_key
from visibility.mentions import find_names

MAX_NAME_CHARACTERS = 120
_WORD = re.compile(r"\w+")


def find_brands(text: str, candidates: Iterable[str]) -> tuple[Brand, ...]:
    """Return the candidates that stand in the text as whole words, in order of first appearance.

    Two spellings with one key are one brand, under the spelling that came first. Where one name lies inside a
    longer one ("Sun Life" in "Sun Life Financial") the place counts for the longer only.
    """
    names = _by_key(candidates)
    found: dict[str, list[int]] = {}
    for span in find_names(text, list(names.values())):
        found.setdefault(name_key(text[span.start : span.end]), []).append(span.start)
    return tuple(Brand(names[key], key, places[0], len(places)) for key, places in found.items() if key in names)


def competitors(brands: Sequence[Brand], profile: OrgProfile, *, verified: bool) -> tuple[Brand, ...]:
    """Return the brands that are not the org's own, in their order.

    Own are all spellings of its names and domains, and, where the answer is `verified` to speak of the org, what
    contains its full name ("Northwind Heating Plus"). Where it is not, such a brand is a look-alike, a competitor.
    """
    keys = own_keys(profile)
    full = [words for words in map(_words, (profile.name, *profile.names)) if len(words) > 1]
    full.append(_words(profile.name))
    return tuple(
        brand
        for brand in brands
        if brand.name_key not in keys and not (verified and _contains_any(_words(brand.name), full))
    )


def own_keys(profile: OrgProfile) -> frozenset[str]:
    """Return the keys of the org's names and of the hosts of its websites."""
    return frozenset(name_key(name) for name in (profile.name, *profile.names, *site_hosts(profile.websites)))


def rank(first_offset: int, others: Sequence[Brand]) -> int:
    """Return 1 + the number of brands that appear before `first_offset`."""
    return 1 + sum(brand.first_offset < first_offset for brand in others)


def site_hosts(websites: Iterable[str]) -> tuple[str, ...]:
    """Return the websites' hosts, lower-case, without scheme, `www.`, port and path."""
    hosts = (website.split("://")[-1].split("/")[0].split(":")[0].lower() for website in websites)
    return tuple(dict.fromkeys(host.removeprefix("www.") for host in hosts if host))


def _by_key(candidates: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for candidate in candidates:
        name = " ".join("".join(c if c.isprintable() else " " for c in candidate).split())
        if name_key(name) and len(name) <= MAX_NAME_CHARACTERS:
            names.setdefault(name_key(name), name)
    return names


def _words(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", name).casefold()))


def _contains_any(words: tuple[str, ...], sequences: Sequence[tuple[str, ...]]) -> bool:
    """Return whether one of the sequences stands in `words` without a gap."""
    return any(
        sequence and words[start : start + len(sequence)] == sequence
        for sequence in sequences
        for start in range(len(words) - len(sequence) + 1)
    )
