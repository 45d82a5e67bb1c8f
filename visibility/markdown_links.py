"""Where the links and addresses of a Markdown text stand, with offsets into the unaltered text.

A scanner of our own beside the Markdown parser, because that one gives no offsets inside a line. Every pass is
linear: answers are untrusted and may be 100 kB of brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from visibility.domain import Span

_BRACKETS = re.compile(r"\\.|[\[\]()]|\n[^\S\n]*\n", re.DOTALL)
_DESTINATION = re.compile(r"\s*(?:<([^<>\n]*)>|([^\s<]\S*))(?:\s+[\"'(“].*)?\s*", re.DOTALL)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_URL_START = re.compile(r"https?://", re.IGNORECASE)
_URL_RUN = re.compile(r"(?:[^\s<>\"`|\\«»“”。，、；：！？（）「」『』【】《》\x00-\x1f]|\\[!-/:-@_~])+")
_WWW = re.compile(r"(?<![\w.@/-])www\.[^\s<>\"`|)\]]+", re.IGNORECASE)
# The path of an address without a scheme: "facebook.com/sun-life" names the site, its path is a link target.
_BARE_PATH = re.compile(r"(?<![\w.@-])(?:[\w-]+\.)+[a-z]{2,24}(/[^\s<>\"`|)\]]*)", re.IGNORECASE)
_TAG = re.compile(r"<[a-z][^<>]*>", re.IGNORECASE)
_DEFINITION = re.compile(
    r"^ {0,3}\[([^\[\]\n]{1,300})\]:[ \t]*(<[^<>\n]*>|[^\s<]\S*)[ \t]*(?:[\"'(][^\n]*)?$", re.MULTILINE
)
_MAIL_NAME = re.compile(r"[\w.+%'-]{1,64}\Z")
_MAIL_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_TRAILING = ".,;:!?'\"*_~’‘…("
_MAX_DEPTH = 32
_MAX_URL_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Link:
    """An inline link or image; `target` spans the brackets and all between them."""

    label: Span
    target: Span
    url: str
    is_image: bool


@dataclass(slots=True)
class _Open:
    position: int
    label: Span | None


def find_links(text: str) -> list[Link]:
    """Return the inline links `[label](target "title")` in order; nested images are links of their own."""
    links: list[Link] = []
    labels: list[int] = []
    opened: list[_Open] = []
    closed_label: Span | None = None
    for token in _BRACKETS.finditer(text) if "](" in text else ():
        position, mark = token.start(), token.group()
        if mark == "[":
            labels.append(position)
        elif mark == "]":
            closed_label = Span(labels.pop(), position + 1) if labels else None
        elif mark == "(":
            follows = closed_label is not None and closed_label.end == position and len(opened) < _MAX_DEPTH
            opened.append(_Open(position, closed_label if follows else None))
        elif mark == ")":
            links.extend(_close(text, opened, position))
        elif mark[0] == "\n":
            labels.clear()
            opened.clear()
    return sorted(links, key=lambda link: link.label.start)


def _close(text: str, opened: list[_Open], position: int) -> Iterator[Link]:
    start = opened.pop() if opened else None
    if start is None or start.label is None or position - start.position > 2 * _MAX_URL_CHARACTERS:
        return
    inside = _DESTINATION.fullmatch(text, start.position + 1, position)
    if inside:
        is_image = start.label.start > 0 and text[start.label.start - 1] == "!"
        url = unescape(inside.group(1) or inside.group(2) or "")
        yield Link(start.label, Span(start.position, position + 1), url, is_image)


def find_bare_urls(text: str, outside: Sequence[Span] = ()) -> list[Span]:
    """Return the spans of `http(s)://` addresses that do not begin in the spans `outside` (sorted, disjoint).

    Trailing punctuation and unbalanced closing brackets are left out.
    """
    starts = [match.start() for match in _URL_START.finditer(text)]
    found: list[Span] = []
    barrier, end = 0, 0
    for index, start in enumerate(starts):
        while barrier < len(outside) and outside[barrier].end <= start:
            barrier += 1
        if start < end or (barrier < len(outside) and outside[barrier].start <= start):
            continue
        bound = _next_address(text, starts, index)
        run = _URL_RUN.match(text, start, bound)
        if run and (stop := start + _trimmed_length(run.group())) > start + len("https://"):
            found.append(Span(start, stop))
            end = stop
    return found


def _next_address(text: str, starts: Sequence[int], index: int) -> int:
    """Return where the address must end at the latest: "a,https://b" are two, "archive/https://b" is one."""
    limit = min(len(text), starts[index] + _MAX_URL_CHARACTERS)
    for following in starts[index + 1 : index + 3]:
        if following < limit and text[following - 1] in ",;)](":
            return following
    return limit


def _trimmed_length(run: str) -> int:
    depth = {")": 0, "]": 0}
    for bracket in re.finditer(r"[()\[\]]", run):
        closer = {"(": ")", "[": "]"}.get(bracket.group())
        if closer:
            depth[closer] += 1
        elif depth[bracket.group()] == 0:
            run = run[: bracket.start()]
            break
        else:
            depth[bracket.group()] -= 1
    while (shorter := re.sub(r"(?:\[\d{1,3}\])+\Z", "", run.rstrip(_TRAILING))) != run:
        run = shorter
    return len(run)


def unescape(url: str) -> str:
    """Return an address of a Markdown text without its backslash escapes and `&amp;`."""
    return _ESCAPE.sub(r"\1", url).replace("&amp;", "&")


def find_definitions(text: str) -> list[tuple[Span, str, str]]:
    """Return the reference definitions (`[label]: url`) with their label and url."""
    found = []
    for match in _DEFINITION.finditer(text) if "]:" in text else ():
        url = match.group(2).strip("<>")
        if "://" in url or url[:1] in "/#" or url.startswith(("mailto:", "www.")):
            found.append((Span(*match.span()), match.group(1), unescape(url)))
    return found


def find_targets(text: str) -> list[Span]:
    """Return the spans that no reader sees as prose: link targets, addresses, e-mails, tags; sorted."""
    spans = [link.target for link in find_links(text)]
    if "//" in text:
        spans.extend(find_bare_urls(text))
    spans.extend(Span(*match.span()) for match in _WWW.finditer(text))
    if "/" in text:
        spans.extend(Span(*match.span(1)) for match in _BARE_PATH.finditer(text))
    if "<" in text:
        spans.extend(Span(*match.span()) for match in _TAG.finditer(text) if "=" in match.group())
    spans.extend(_emails(text))
    spans.extend(_references(text))
    return sorted(spans)


def _emails(text: str) -> Iterator[Span]:
    position = text.find("@")
    while position >= 0:
        name = _MAIL_NAME.search(text, max(0, position - 64), position)
        host = _MAIL_HOST.match(text, position + 1)
        if name and host:
            yield Span(name.start(), host.end())
        position = text.find("@", position + 1)


def _references(text: str) -> Iterator[Span]:
    definitions = find_definitions(text)
    labels = {label.casefold() for _, label, _ in definitions}
    yield from (span for span, _, _ in definitions)
    for match in re.finditer(r"\]\[([^\[\]\n]{1,300})\]", text) if labels else ():
        if match.group(1).casefold() in labels:
            yield Span(match.start() + 1, match.end())
