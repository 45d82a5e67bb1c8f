"""The sources of an answer: the vendor's structured list first, then the addresses in its text. No LLM."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from visibility.domain import Citation, CitationSource, Span
from visibility.domains import ascii_host, is_own_page, org_sites, page_parts, registrable_domain
from visibility.markdown_links import find_bare_urls, find_definitions, find_links, unescape

_URL = re.compile(r"(https?)://([^/?#\\]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"[^\W_](?:[\w.-]*\w)?")
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".svg", ".webp")
_TRACKERS = frozenset({"gclid", "fbclid", "msclkid"})
_LONGEST_BYTES = 2000  # in UTF-8; Postgres indexes no value above 2,704
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MARKER = re.compile(r"\\?\[\^?(\d{1,3}(?:\s?[,，]\s?\d{1,3}){0,20})\\?\](?![(:])|【(\d{1,3})[^【】\n]{0,40}】")
# What the vendor's record calls its lists; a list not named here counts unless its name says "search" or "query".
_CITED_LISTS = ("citations", "sources", "links_attached")
_MARKED_LISTS = ("links_attached", "citations", "sources", "search_sources")
_URL_KEYS = ("url", "link", "href", "uri")
_NUMBER_KEYS = ("position", "rank", "index")


def find_citations(text: str, websites: Iterable[str], provider_sources: object = None) -> list[Citation]:
    """Return the sources of an answer in canonical form, each once, `position` counting from 1.

    The vendor's lists come first, without entries that it marks as not cited unless a marker `[n]` in the text
    refers to them; then the links and addresses of the text. `provider_sources` is the vendor's record of lists
    (or one list) of URLs or of objects with a URL; what it holds besides is passed over.
    """
    sites = org_sites(websites)
    found: dict[str, tuple[str, CitationSource]] = {}
    for url, source in _candidates(text or "", _lists(provider_sources)):
        canonical = canonical_url(url)
        if canonical is not None:
            found.setdefault(_identity(canonical), (canonical, source))
    return [
        Citation(url, _domain(url), "primary" if is_own_page(url, sites) else "secondary", position, source)
        for position, (url, source) in enumerate(found.values(), 1)
    ]


def _candidates(text: str, lists: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, CitationSource]]:
    for url in _vendor_urls(text, lists):
        yield url, "vendor"
    for url in _text_urls(text):
        yield url, "text"


@lru_cache(maxsize=16384)
def canonical_url(url: str) -> str | None:
    """Return the canonical form of a page's address, or None for what is no http(s) page: images, other schemes.

    Lower-case host without `www.`, no default port, no tracking parameters, no `/` at the end of the path;
    other parameters keep their order, the fragment stays. An address of more than 2,000 bytes loses its fragment, then
    its parameters; None when it is still longer.
    """
    match = _URL.fullmatch(url.strip())
    if match is None or any(unicodedata.category(character) in ("Cc", "Cs") for character in url.strip()):
        return None
    scheme, authority, path, query, fragment = (part or "" for part in match.groups())
    host = _host(scheme.lower(), authority)
    if host is None or path.lower().endswith(_IMAGES):
        return None
    kept = "&".join(parameter for parameter in query.split("&") if parameter and not _is_tracker(parameter))
    page = f"{scheme.lower()}://{host}{path.rstrip('/')}"
    with_parameters = f"{page}?{kept}" if kept else page
    whole = f"{with_parameters}#{fragment}" if fragment else with_parameters
    written = (form.replace(" ", "%20") for form in (whole, with_parameters, page))
    return next((form for form in written if len(form.encode()) <= _LONGEST_BYTES), None)


def _host(scheme: str, authority: str) -> str | None:
    """Return host and port, without user name, `www.` and default port; None unless it is a public host."""
    name, colon, port = authority.rpartition("@")[2].partition(":")
    host = name.lower().rstrip(".")
    bare = host.removeprefix("www.")
    host = bare if "." in bare else host
    if "." not in host or ".." in host or not _HOST.fullmatch(host):
        return None
    if colon and port and not (port.isascii() and port.isdigit() and int(port[:6]) < 65536):
        return None
    return host if port in ("", _DEFAULT_PORTS[scheme]) else f"{host}:{int(port)}"


def _domain(canonical: str) -> str:
    return registrable_domain(page_parts(canonical).host)


def _is_tracker(parameter: str) -> bool:
    name = parameter.partition("=")[0].lower()
    return name.startswith("utm_") or name in _TRACKERS


def _identity(canonical: str) -> str:
    """Return the form under which an international host and its DNS spelling are one."""
    if canonical.isascii():
        return canonical
    host = page_parts(canonical).host
    return canonical.replace(host, ascii_host(host), 1)


def _lists(sources: object) -> dict[str, list[Any]]:
    """Return the vendor's lists by name, whatever shape the record has."""
    if isinstance(sources, Mapping):
        if any(isinstance(sources.get(key), str) for key in _URL_KEYS):
            return {"citations": [sources]}
        return {str(name): _entries(value) for name, value in sources.items()}
    return {"citations": _entries(sources)}


def _entries(value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)):
        return [value]
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else []


def _vendor_urls(text: str, lists: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    others = [name for name in lists if name not in _CITED_LISTS and not re.search("search|query|queries", name)]
    for name in (*_CITED_LISTS, *others):
        yield from (_url(entry) for entry in lists.get(name, ()) if not _is_uncited(entry))
    numbered = [_numbered(lists[name]) for name in _MARKED_LISTS if lists.get(name)]
    if not numbered:
        return
    for marker in _MARKER.finditer(text):
        for number in map(int, re.findall(r"\d+", marker.group(1) or marker.group(2))):
            yield next((urls[number] for urls in numbered if number in urls), "")


def _url(entry: Any) -> str:
    if isinstance(entry, Mapping):
        nested = entry.get("url_citation")
        entry = next((entry[key] for key in _URL_KEYS if isinstance(entry.get(key), str)), None) or (
            _url(nested) if isinstance(nested, Mapping) else ""
        )
    return entry if isinstance(entry, str) else ""


def _is_uncited(entry: Any) -> bool:
    """Tell whether the vendor says that the answer does not cite this entry; it may say so as a string."""
    cited = entry.get("cited") if isinstance(entry, Mapping) else None
    return cited is not None and str(cited).strip().lower() in ("false", "0", "no")


def _numbered(entries: Sequence[Any]) -> dict[int, str]:
    """Return the URLs by the number that a marker uses: the entry's own position, else its place in the list."""
    positions = [_position(entry) for entry in entries]
    known = [position for position in positions if position is not None]
    if len(known) < len(entries):
        return {place: _url(entry) for place, entry in enumerate(entries, 1)}
    shift = 1 if 0 in known else 0
    by_number: dict[int, str] = {}
    for position, entry in zip(known, entries, strict=True):
        by_number.setdefault(position + shift, _url(entry))
    return by_number


def _position(entry: Any) -> int | None:
    values = [entry.get(key) for key in _NUMBER_KEYS] if isinstance(entry, Mapping) else []
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
            return int(value)
    return None


# the orgs of a network read the same answers: what is the answer's own is done once
@lru_cache(maxsize=128)
def _text_urls(text: str) -> tuple[str, ...]:
    if "://" not in text:
        return ()
    links = find_links(text)
    placed = [(link.target.start, link.url) for link in links if not link.is_image]
    definitions = find_definitions(text)
    placed.extend((span.start, url) for span, _, url in definitions)
    taken = [span for link in links for span in (link.label, link.target)] + [span for span, _, _ in definitions]
    placed.extend((span.start, unescape(text[span.start : span.end])) for span in find_bare_urls(text, _joined(taken)))
    return tuple(url for _, url in sorted(placed))


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.start < joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined
