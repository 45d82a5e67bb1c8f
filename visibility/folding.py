"""Texts in the form in which names are compared, with the way back to the offsets of the unaltered text.

NFKC makes "Ｓｕｎ" and a decomposed "é" what a reader sees; case folding makes "STRASSE" and "Straße" equal.
Both can change the length of a text, so every change of length is kept beside the folded text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

_RUN = re.compile(r"\S+|\s+")
_INVISIBLE = frozenset("\u00ad\u200c\u200d\u2060\ufeff")
_AS_SPACE = frozenset("\u200b\u2122\u2120")
_SPECIAL = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\u2120\u2122]")
# NFKC of a longer run of combining marks than Unicode's stream-safe format allows sorts in quadratic time.
_MAX_CLUSTER = 31


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text; each change is (folded start, folded end, original start, original end), in order."""

    text: str
    changes: tuple[tuple[int, int, int, int], ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the offsets in the unaltered text that hold `text[start:end]`; `start < end`."""
        return self._offset(start, last=False), self._offset(end - 1, last=True)

    def _offset(self, index: int, *, last: bool) -> int:
        found = bisect_right(self.changes, index, key=lambda change: change[0]) - 1
        if found < 0:
            return index + last
        _, folded_end, original_start, original_end = self.changes[found]
        if index < folded_end:
            return original_end if last else original_start
        return original_end + index - folded_end + last


def fold(text: str, *, keep_case: bool = False) -> Folded:
    """Return the text NFKC-normalised, case-folded unless `keep_case`, without invisible characters.

    Trademark signs, superscripts and circled numbers become spaces: "Northwind™" ends in "d".
    """
    if text.isascii():
        return Folded(text if keep_case else text.lower())
    whole = _same_length(text, keep_case)
    return Folded(whole) if whole is not None else _fold_runs(text, keep_case)


def _same_length(text: str, keep_case: bool) -> str | None:
    if _SPECIAL.search(text) or not unicodedata.is_normalized("NFKC", text):
        return None
    folded = text if keep_case else text.casefold()
    return folded if len(folded) == len(text) else None


def _fold_runs(text: str, keep_case: bool) -> Folded:
    pieces: list[str] = []
    changes: list[tuple[int, int, int, int]] = []
    length = 0
    for run in _RUN.finditer(text):
        word = run.group()
        easy = (word if keep_case else word.lower()) if word.isascii() else _same_length(word, keep_case)
        for start, end in [(0, len(word))] if easy is not None else _clusters(word):
            piece = easy if easy is not None else _fold_cluster(word[start:end], keep_case)
            if len(piece) != end - start:
                changes.append((length, length + len(piece), run.start() + start, run.start() + end))
            pieces.append(piece)
            length += len(piece)
    return Folded("".join(pieces), tuple(changes))


def _clusters(word: str) -> list[tuple[int, int]]:
    """Return the stretches that NFKC treats as one: a character with the marks that follow it."""
    bounds: list[tuple[int, int]] = []
    start = 0
    for index in range(1, len(word) + 1):
        if index == len(word) or index - start >= _MAX_CLUSTER or not _joins(word[index]):
            bounds.append((start, index))
            start = index
    return bounds


@lru_cache(maxsize=4096)
def _joins(character: str) -> bool:
    """Tell whether a character composes with the one before: marks, kana voicing, Hangul vowels and finals."""
    return (
        unicodedata.category(character)[0] == "M"
        or character in "\uff9e\uff9f"
        or "\u1160" <= character <= "\u11ff"
        or "\uffa0" <= character <= "\uffdc"
    )


@lru_cache(maxsize=16384)
def _fold_cluster(cluster: str, keep_case: bool) -> str:
    if cluster[0] in _INVISIBLE:
        return ""
    if cluster[0] in _AS_SPACE or unicodedata.category(cluster[0]) == "No":
        return " "
    normal = unicodedata.normalize("NFKC", cluster)
    return normal if keep_case else normal.casefold()
