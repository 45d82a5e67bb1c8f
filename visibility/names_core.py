"""The variations of an org's name that follow by rule, and the clean-up of those that an LLM proposes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from cleanco import basename

from visibility.domains import domain_label, is_shared_host, split_website
from visibility.ordinary_words import is_ordinary_word, is_trade_term

# Legal forms that cleanco's lists do not have, at either end of a name.
_LEGAL_END = re.compile(r"[\s,]+(?:N\.?A\.?|Tbk\.?|株式会社|有限会社|有限公司|股份有限公司|주식회사)\Z", re.IGNORECASE)
_LEGAL_BEGIN = re.compile(r"\A(?:株式会社|有限会社|주식회사|\(주\)|OOO\s|ООО\s|ОАО\s|ПАО\s)\s*")
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])|(?<=[a-z]{3})(?=[A-Z]{2,}\b)")
_SURNAME = re.compile(r"\A(?:Mac|Van|Von|Fitz)[A-Z]")
_BREAK = re.compile(r"[\s\-‐–_]+")
_LITTLE_WORDS = "a an and at by de del der des di du e et for in la le of on the und y"
_URL = re.compile(r"\A(?:[a-z][a-z0-9+.-]*://|www\.)|\A[\w.-]+\.[a-z]{2,24}(?:/\S*)?\Z", re.IGNORECASE)
_MAX_CHARACTERS = 200


def core_variations(name: str, websites: Iterable[str]) -> list[str]:
    """Return the spellings of a name that follow by rule, the name itself first, none twice (case-folded).

    Without legal suffix; spaced, unspaced and hyphenated; the root of each website's domain, unless it is an
    ordinary word or a shared host's; the acronym (3 letters or more) of a name of 3 words or more.
    """
    exact = _tidy(name)
    base = without_legal_form(exact)
    derived = [base, *_compounds(base), *_domain_roots(websites, exact), *_acronym(base)]
    return _unique([exact, *(variation for variation in derived if len(variation) > 1)])


def clean_variations(candidates: Iterable[str], name: str) -> list[str]:
    """Return the usable candidates, trimmed and NFKC-normalised, none twice (case-folded), in their order.

    Dropped are blanks, URLs, e-mail addresses, single characters, ordinary words and terms of the trade; the
    org's exact name always stays.
    """
    exact = _tidy(name).casefold()
    tidied = (_tidy(candidate) for candidate in candidates or () if isinstance(candidate, str))
    return _unique(candidate for candidate in tidied if candidate.casefold() == exact or _is_usable(candidate))


def without_legal_form(name: str) -> str:
    """Return the name without "Inc", "GmbH & Co. KG", "株式会社" and the like; the name when nothing else is left."""
    shorter = _LEGAL_BEGIN.sub("", _LEGAL_END.sub("", name))
    shorter = _tidy(basename(shorter)) or shorter
    if len(shorter) < 2 or shorter.casefold() in _LITTLE_WORDS.split():
        return name
    # "Best Buy Co., Inc." has two
    return without_legal_form(shorter) if len(shorter) < len(name) else shorter


def _tidy(name: str) -> str:
    normal = unicodedata.normalize("NFKC", name if isinstance(name, str) else "").replace("\x00", "")
    return " ".join(normal.split())


def _is_usable(candidate: str) -> bool:
    letters = sum(character.isalnum() for character in candidate)
    if letters < 2 or len(candidate) > _MAX_CHARACTERS or "@" in candidate or _URL.match(candidate):
        return False
    return not is_ordinary_word(candidate) and not is_trade_term(candidate)


def _compounds(base: str) -> Iterator[str]:
    """Yield the spaced, unspaced and hyphenated forms of a name of two or three parts; of a longer one the spaced."""
    words = [part for word in _BREAK.split(base) if word for part in _camel_parts(word)]
    if len(words) > 3:
        yield " ".join(words)
    if len(words) not in (2, 3) or not all(any(map(str.isalnum, word)) for word in words):
        return
    yield " ".join(words)
    if not is_ordinary_word("".join(words)):
        yield "".join(words)
    yield "-".join(words)


def _camel_parts(word: str) -> list[str]:
    return [word] if _SURNAME.match(word) else _CAMEL.split(word)


def _domain_roots(websites: Iterable[str], name: str) -> Iterator[str]:
    for website in (websites,) if isinstance(websites, str) else websites or ():
        parts = split_website(website)
        if parts is None or parts.hostname is None:
            continue
        if is_shared_host(parts.hostname) and parts.path.strip("/"):
            continue
        root = domain_label(parts.hostname)
        if root.casefold() == name.casefold() or _is_usable(root):
            yield root


def _acronym(base: str) -> Iterator[str]:
    words = [word for word in re.split(r"[\s\-‐–/]+", base) if word[:1].isalpha()]
    telling = [word for word in words if word.casefold() not in _LITTLE_WORDS.split()]
    for chosen in (telling, words):
        letters = "".join(word[0] for word in chosen).upper()
        if len(words) >= 3 and len(letters) >= 3 and letters.isalpha() and _has_case(letters) and _is_telling(letters):
            yield letters
            return


def _is_telling(letters: str) -> bool:
    """Tell whether an acronym is more than the trade's own: "FCU" is in the name of every federal credit union."""
    return not is_trade_term(letters)


def _has_case(letters: str) -> bool:
    return letters.lower() != letters


def _unique(names: Iterable[str]) -> list[str]:
    first: dict[str, str] = {}
    for name in names:
        if name:
            first.setdefault(name.casefold(), name)
    return list(first.values())
