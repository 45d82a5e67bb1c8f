"""Sentences of a paragraph, by rule: enough for assistants' prose in any script."""

from __future__ import annotations

import re

# An end mark with what belongs to it: quotes, brackets, emphasis, citation markers, "([source](url))".
_END = re.compile(
    r"(?:[.!?…؟۔।॥።]{1,6}(?P<wide>)|[。！？｡](?P<cjk>))[\"'”’»)\]*_」』）]{0,6}"
    r"(?:\s?\\?\[\d{1,3}\\?\](?!\()|\s?\(?\[[^\[\]\n]{0,200}\]\([^()\s]{0,2000}\)\)?){0,8}[.]?"
)
_ABBREVIATION = re.compile(
    r"(?:^|[^\w.])(?:[^\W\d_]|Dr|Mr|Mrs|Ms|St|Mt|Ft|vs|Jr|Sr|Prof|No|Nos|Inc|Ltd|Corp|Co|Bros|Ave|Blvd|Rd|approx"
    r"|est|etc|e\.g|i\.e|U\.S|U\.K|a\.m|p\.m|Gov|Sen|Rep|Gen|Art|Fig|bzw|z\.B|ca|al)\Z",
    re.IGNORECASE,
)
# After these a capital usually begins a new sentence; after "Dr." or an initial it does not.
_MAY_END = re.compile(r"(?:Inc|Ltd|Corp|Co|Bros|etc|a\.m|p\.m|Ave|Blvd|Rd|al)\Z", re.IGNORECASE)


def split_sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the (start, end) of the sentences of `text[start:end]`, which begins and ends visibly."""
    spans: list[tuple[int, int]] = []
    begin = start
    for mark in _END.finditer(text, start, end):
        if mark.start() < begin or not _ends_sentence(text, begin, end, mark):
            continue
        spans.append((begin, mark.end()))
        begin = mark.end()
        while begin < end and text[begin].isspace():
            begin += 1
    if begin < end:
        spans.append((begin, end))
    return spans


def _ends_sentence(text: str, begin: int, end: int, mark: re.Match[str]) -> bool:
    if mark.group("cjk") is not None or mark.end() >= end:
        return True
    after = text[mark.end() : min(end, mark.end() + 8)]
    following = after.lstrip().lstrip("*_\"'“‘([#")[:1]
    if not after[0].isspace() or following.islower():
        return False
    if text[mark.start()] != ".":
        return True
    before = text[max(begin, mark.start() - 12) : mark.start()]
    if not _ABBREVIATION.search(before):
        # "1." at the beginning of a sentence is its number.
        return not text[begin : mark.start()].isdigit()
    return bool(_MAY_END.search(before)) and following.isupper()
