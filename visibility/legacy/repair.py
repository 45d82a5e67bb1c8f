"""Texts that were UTF-8 and were read in another coding (`CafÃ©`), as they were meant.

Many correct texts have bytes in those codings that are UTF-8 of something else: `L’École` would be LՃcole. So a text is
repaired only when all of it decodes, and to what stands in names: Latin letters, punctuation, currencies, emoji.
"""

from __future__ import annotations

import re

PLAUSIBLE = re.compile(
    r"[\x20-\x7e\s\u00a0-\u017f\u2010-\u2027\u2030-\u205e\u20a0-\u20cf\u2116\u2122"
    r"\u2600-\u27bf\U0001f300-\U0001faff]+"
)
# What may be UTF-8 and may be meant as it stands: capitals that end in one of these letters, and a sign behind them
AMBIGUOUS = re.compile(r"(?<=[A-ZÀ-ÖØ-Þ])[ÃÄÅ](?:’|[”™®…](?!\w))")


def repaired(text: str) -> str:
    """Return a text that was UTF-8 read in another coding as it was meant; any other as it is."""
    if text.isascii() or AMBIGUOUS.search(text):
        return text
    for read_wrongly in (_as_windows, _as_macintosh):
        try:
            meant = read_wrongly(text).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        if PLAUSIBLE.fullmatch(meant):
            return meant
    return text


def _as_windows(text: str) -> bytes:
    """Five bytes have no character in this coding; programs take them as they are."""
    return b"".join(
        character.encode("latin-1") if "\x80" <= character <= "\x9f" else character.encode("cp1252")
        for character in text
    )


def _as_macintosh(text: str) -> bytes:
    return text.encode("mac_roman")
