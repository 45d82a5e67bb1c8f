"""Names compiled to patterns over folded text, and what counts as the edge of a word in each script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from visibility.folding import fold
from visibility.ordinary_words import is_ordinary_word, is_trade_term

_SPACES = r"(?:[^\S\n]|&nbsp;|&#160;)"
_EMPHASIS = "[*_~`\"'“”‘’]{0,3}"
# One line end at most: two words of different paragraphs or list items are no name.
_SPACE = rf"{_EMPHASIS}(?:{_SPACES}{{1,8}}(?:\n{_SPACES}{{0,8}})?|\n{_SPACES}{{0,8}}|\\n)(?:>{_SPACES}?)?{_EMPHASIS}"
_HYPHEN = rf"{_EMPHASIS}(?:{_SPACES}{{0,2}}\\?[-‐−]{_SPACES}{{0,2}}|\\?[‒–])\n?{_EMPHASIS}"
_JOINED = r"\\?[/·•_.]"
_AMPERSAND = (
    rf"(?:{_SPACES}{{0,4}}\n?{_SPACES}{{0,4}}\\?(?:&amp;|&|\+){_SPACES}{{0,4}}\n?{_SPACES}{{0,4}}"
    rf"|{_SPACE}and{_SPACE})"
)
_APOSTROPHES = "'’ʼ‘`"
_APOSTROPHE = rf"(?:\\?[{_APOSTROPHES}]|&#39;|&#x27;|&apos;|&rsquo;)?"
# Letters that the text may write with dots: "US" as "U.S." or "U. S."
_CAPITALS = re.compile(r"\b[A-Z]{2,4}\b")
_ABBREVIATIONS = "st dr mr mrs ms ft mt co inc bros corp ltd assn ave jr sr no"

_KANA_PARTICLES = frozenset("はがをのにでともへや")
_HANGUL_PARTICLE = re.compile(
    "(?:은|는|이|가|을|를|의|에|에서|에게|로|으로|와|과|도|만|까지|부터|이나|나|보다|처럼|이라는|라는|입니다|이다)"
    r"(?![\uac00-\ud7a3])"
)
_LEADING_VOWELS = frozenset("เแโใไ")
_DEPENDENT_VOWELS = frozenset("ะาำๅ")
_RANGES = (
    ("thai", 0x0E01, 0x0EFF),
    ("thai", 0x1000, 0x109F),
    ("thai", 0x1780, 0x17FF),
    ("hiragana", 0x3041, 0x309F),
    ("katakana", 0x30A1, 0x30FA),
    ("katakana", 0x30FC, 0x30FF),
    ("han", 0x2E80, 0x2FDF),
    ("han", 0x3005, 0x3007),
    ("han", 0x3400, 0x4DBF),
    ("han", 0x4E00, 0x9FFF),
    ("han", 0xF900, 0xFAFF),
    ("han", 0x20000, 0x3FFFF),
    ("hangul", 0xAC00, 0xD7A3),
)


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One name: `pattern` for folded text; `exact`, if any, for the text with its case kept.

    `begins_dotted` when the text may write the first word with dots: "U.S. Bank" for "US Bank".
    """

    first_word: str
    pattern: re.Pattern[str]
    exact: re.Pattern[str] | None
    begins_dotted: bool = False


@lru_cache(maxsize=8192)
def script(character: str) -> str:
    """Return the class that decides on word edges: letter, mark, han, hiragana, katakana, hangul, thai, none.

    "thai" stands for the scripts of South-East Asia that write no spaces.
    """
    category = unicodedata.category(character)
    if "\ufe00" <= character <= "\ufe0f" or category[0] not in "LMN" or category == "No":
        return "none"
    point = ord(character)
    for name, first, last in _RANGES:
        if first <= point <= last:
            return "thai mark" if category[0] == "M" else name
    return "mark" if category[0] == "M" else "letter"


def begins_word(text: str, start: int) -> bool:
    """Tell whether a word can begin at `start`; always so for scripts without spaces, but for split syllables."""
    before = text[start - 1] if start else " "
    left, right = script(before), script(text[start])
    if right == "letter":
        return left not in ("letter", "mark") or (before in "nrt" and text[start - 2 : start - 1] == "\\")
    if right == "hiragana":
        return left != right or before in _KANA_PARTICLES
    if right == "thai":
        return before not in _LEADING_VOWELS
    return left != right or right in ("han", "none")


def ends_word(text: str, end: int) -> bool:
    """Tell whether a word can end before `end`; Korean and Japanese particles may follow a name directly."""
    if end >= len(text):
        return True
    after = text[end]
    left, right = script(text[end - 1]), script(after)
    if right in ("mark", "thai mark"):
        return False
    if left == "hangul" == right:
        return _HANGUL_PARTICLE.match(text, end) is not None
    if left == "hiragana" == right:
        return after in _KANA_PARTICLES
    if left in ("thai", "thai mark"):
        return after not in _DEPENDENT_VOWELS
    if right == "letter":
        return left not in ("letter", "mark", "none")
    return right != "katakana" or left != right


@lru_cache(maxsize=8192)
def compile_name(name: str) -> NamePattern | None:
    """Return the name as a pattern, or None when it holds no letter or digit."""
    folded = fold(name).text.strip()
    words = _words(folded)
    if not words:
        return None
    dotted = frozenset(_CAPITALS.findall(fold(name, keep_case=True).text))
    lower = frozenset(word.lower() for word in dotted)
    is_exact = _matches_case_sensitively(name)
    exact = _pattern(fold(name, keep_case=True).text.strip(), dotted) if is_exact else None
    first_word = folded[slice(*words[0])]
    return NamePattern(first_word, _pattern(folded, lower), exact, first_word in lower)


def _matches_case_sensitively(name: str) -> bool:
    letters = sum(script(character) != "none" for character in fold(name).text)
    return letters <= 2 or is_ordinary_word(name) or is_trade_term(name)


def _words(name: str) -> list[tuple[int, int]]:
    bounds: list[tuple[int, int]] = []
    for index, character in enumerate(name):
        if script(character) == "none":
            continue
        if bounds and bounds[-1][1] == index:
            bounds[-1] = (bounds[-1][0], index + 1)
        else:
            bounds.append((index, index + 1))
    return bounds


def _pattern(name: str, dotted: frozenset[str]) -> re.Pattern[str]:
    return re.compile("".join(_parts(name, dotted)))


def _parts(name: str, dotted: frozenset[str]) -> Iterator[str]:
    bounds = _words(name)
    words = [name[start:end] for start, end in bounds]
    gaps = [name[left[1] : right[0]] for left, right in pairwise(bounds)]
    index = 0
    while index < len(words):
        word = words[index]
        yield _capitals(word) if word in dotted else _word(word, many=len(words) > 1)
        if index + 2 < len(words) and words[index + 1].casefold() == "and":
            yield _AMPERSAND
            index += 1
        elif index + 1 < len(words):
            yield _gap(gaps[index], word, is_dotted=word in dotted)
        index += 1
    tail = re.escape(name[bounds[-1][1] :].strip())
    if tail:
        yield tail if sum(map(len, words)) <= 2 else f"(?:{tail})?"


def _word(word: str, *, many: bool) -> str:
    """Return the word; in a longer name the text may write its final s with an apostrophe: "Sam's Club"."""
    if many and len(word) > 3 and word[-1] in "sS":
        return re.escape(word[:-1]) + _APOSTROPHE + word[-1]
    return re.escape(word)


def _capitals(word: str) -> str:
    """Return the word with or without dots; "us. Bank" is the end of a sentence."""
    dotted = rf"\.{_SPACES}?".join(word)
    return rf"(?:{word}|{dotted}\.?)"


def _gap(gap: str, word: str, *, is_dotted: bool) -> str:
    sign = gap.strip()
    dot = r"\.?" if (len(word) <= 2 and not is_dotted) or word.casefold() in _ABBREVIATIONS.split() else ""
    separator = rf"(?:{dot},?{_SPACE}|{_HYPHEN}|{_JOINED})"
    if sign in ("&", "+"):
        return _AMPERSAND
    if sign == gap and len(sign) == 1 and sign in _APOSTROPHES:
        return _APOSTROPHE
    if sign == gap == ".":
        return rf"\.?{_SPACES}?" if len(word) == 1 else rf"(?:\.|{separator})"
    if sign in ("", ",", ".", "/", "_", "·", "•") or unicodedata.category(sign[0]) == "Pd":
        return separator
    return rf"(?:\s?\\?{re.escape(sign)}\s?|{separator})"
