"""From the vendor's text to the answer that is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# What the chat page shows above an answer and the scraper takes along, mostly on a line of its own; a sentence
# that begins so ("Give feedback to …") goes on in small letters.
_BOILERPLATE = re.compile(r"\s*(?i:Give feedback|ChatGPT said:)[ \t]*(?:\r?\n\s*|(?:\\n)+|$|(?=[A-Z#*]))")
# Code first, so that `numbers[1]` in it stays; then `[1]` or `\[1\]`, but not `[1](…)`, `![1]`, `[[1]` or `[1][ref]`.
_MARKER = re.compile(
    r"(?P<code>```.*?(?:```|\Z)|`[^`\n]+`)"
    r"|(?<![\[\\!])(?:\[(?P<plain>\d{1,4})\]|\\\[(?P<escaped>\d{1,4})\\\])(?![(\]])(?!\[\D)",
    re.DOTALL,
)
_LINE_START = re.compile(r"(?:^|\n) {0,3}\Z")
_MARKER_BEFORE = re.compile(r"\[\d{1,4}\\?\]\Z")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_IN_MARKDOWN_URL = str.maketrans({"(": "%28", ")": "%29", " ": "%20", "\n": "%0A", "<": "%3C", ">": "%3E"})


def clean(text: str) -> str:
    """Return the text without NUL, and with U+FFFD for lone surrogates: Postgres refuses both."""
    if not _UNSTORABLE.search(text):
        return text
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return paired.replace("\x00", "")


def clean_json(value: Any) -> Any:
    """Return a parsed JSON value that jsonb takes: cleaned strings, None for NaN and infinities."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [clean_json(entry) for entry in value]
    if isinstance(value, Mapping):
        return {clean(str(key)): clean_json(entry) for key, entry in value.items()}
    return value


def without_boilerplate(text: str) -> str:
    """Return the text without the page's own words at its start."""
    while match := _BOILERPLATE.match(text):
        text = text[match.end() :]
    return text


def with_links(text: str, links_attached: Any) -> str:
    r"""Return the text with its `[n]` and `\[n\]` markers as Markdown links; unknown markers stay as they are."""
    urls = _urls_by_position(links_attached)
    if not urls:
        return text

    def linked(marker: re.Match[str]) -> str:
        number = int(marker["plain"] or marker["escaped"] or -1)
        if number not in urls or _is_reference(marker):
            return marker.group()
        return f"[{number}]({urls[number].translate(_IN_MARKDOWN_URL)})"

    return _MARKER.sub(linked, text)


def _is_reference(marker: re.Match[str]) -> bool:
    """Tell a Markdown reference (`[text][1]`, or its definition `[1]: …` on a line) from a citation marker."""
    before, after = marker.string[max(0, marker.start() - 8) : marker.start()], marker.string[marker.end() :][:1]
    if after == ":" and _LINE_START.search(before):
        return True
    return before.endswith("]") and not _MARKER_BEFORE.search(before)


def _urls_by_position(links_attached: Any) -> dict[int, str]:
    """Return the links by their `position`, or by their order where it is missing."""
    urls: dict[int, str] = {}
    for order, link in enumerate(links_attached if isinstance(links_attached, list) else (), start=1):
        url = link.get("url") if isinstance(link, dict) else link
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            urls.setdefault(_position(link, order), clean(url))
    return urls


def _position(link: Any, order: int) -> int:
    try:
        return int(link["position"])
    except (KeyError, TypeError, ValueError):
        return order
