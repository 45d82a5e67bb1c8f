"""Which names are ordinary words, so that "Target" the shop is not found in "the target audience".

The words are SCOWL's size-35 list of American English (permissive licence, in the head of the data file);
it holds lower-case words only, so that "nike" or "google" are names and "apple" is a word. The trade terms
are our own short list.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files

_WORD = re.compile(r"[^\W_]+")


@cache
def _words(file_name: str) -> frozenset[str]:
    text = files("visibility").joinpath("data", file_name).read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def is_ordinary_word(name: str) -> bool:
    """Tell whether the name, whatever its case, is one word of everyday English."""
    return _folded(name) in _words("ordinary_words.txt")


def is_trade_term(name: str) -> bool:
    """Tell whether every word of the name is generic for a trade: "credit union", "Online", "community bank"."""
    parts = _WORD.findall(_folded(name))
    return bool(parts) and all(part in _words("trade_terms.txt") for part in parts)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()
