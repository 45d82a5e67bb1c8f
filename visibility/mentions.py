"""Where an answer names an org, and how much of it speaks about the org, by rule alone."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from visibility.domain import Span
from visibility.folding import Folded, fold
from visibility.markdown_blocks import Block, split_blocks
from visibility.markdown_links import find_targets
from visibility.name_patterns import NamePattern, begins_word, compile_name, ends_word

__all__ = ["Span", "find_names", "find_passages", "merged", "share_of_voice"]

_TITLE_WORDS = "a about an at company glance of our overview profile review reviews s summary the"


@dataclass(frozen=True, slots=True)
class _Matcher:
    """All names together: where a head stands one may begin, `by_first` holds the patterns to try there."""

    heads: tuple[str, ...]
    by_first: dict[str, tuple[NamePattern, ...]]


def find_names(text: str, names: Iterable[str]) -> list[Span]:
    """Return where any of the names stands in the text as whole words: sorted, without overlaps.

    Of overlapping hits the longest counts. Hits in link targets, bare URLs and e-mail addresses do not count.
    """
    matcher = _matcher(_key(names))
    if not text or matcher is None:
        return []
    hits = list(_hits(text, _folded(text), matcher))
    return _longest(_outside(hits, _unread(text))) if hits else []


def find_passages(text: str, names: Iterable[str]) -> list[Span]:
    """Return the blocks that name the org; a card or heading section whole when its heading does.

    Sorted, without overlaps, inside the text; empty when no name stands in it.
    """
    hits = find_names(text, names)
    passages: list[Span] = []
    blocks = split_blocks(text) if hits else []
    for block in blocks:
        first = bisect_right(hits, block.start, key=lambda hit: hit.end)
        if first == len(hits) or hits[first].start >= block.end or _covers(passages, block.start):
            continue
        is_about_org = block.is_title and _is_only_name(text, block, hits)
        passages.append(Span(block.start, blocks[-1].end if is_about_org else block.section_end))
    return passages


def share_of_voice(spans: Iterable[Span | tuple[int, int]], text: str) -> float:
    """Return the part of the answer's characters that speaks about the org, 0 to 1.

    Overlapping spans count once, what lies outside the text not at all; an empty answer gives 0.
    """
    if not text:
        return 0.0
    clipped = (Span(max(0, start), min(len(text), end)) for start, end in map(_bounds, spans))
    covered = sum(span.end - span.start for span in merged(clipped))
    return covered / len(text)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans sorted, overlapping and touching ones joined, empty ones left out."""
    joined: list[Span] = []
    for span in sorted(span for span in spans if span.start < span.end):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def _is_only_name(text: str, title: Block, hits: Sequence[Span]) -> bool:
    """Tell "# Sun Life" and "# About Sun Life", over sections about it, from "# Alternatives to Sun Life"."""
    rest, position = "", title.start
    for span in merged([*hits, *_unread(text), Span(title.end, title.end + 1)]):
        if position < title.end and span.end > position:
            rest += f"{text[position : min(span.start, title.end)]} "
            position = span.end
    return all(word.casefold() in _TITLE_WORDS.split() for word in re.findall(r"[^\W\d_]+", rest))


def _bounds(span: Span | tuple[int, int]) -> tuple[int, int]:
    return (span[0], span[1]) if isinstance(span, (tuple, list)) else (span.start, span.end)


def _covers(passages: Sequence[Span], start: int) -> bool:
    return bool(passages) and start < passages[-1].end


def _key(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        names = (names,)
    return tuple(name for name in names or () if isinstance(name, str))


# One answer is searched for the org and then for every brand in it, in a network for every org: its own part of the
# work is done once.
@lru_cache(maxsize=128)
def _folded(text: str) -> Folded:
    return fold(text)


@lru_cache(maxsize=128)
def _unread(text: str) -> tuple[Span, ...]:
    return tuple(merged(find_targets(text)))


@lru_cache(maxsize=1024)
def _matcher(names: tuple[str, ...]) -> _Matcher | None:
    patterns = [pattern for pattern in map(compile_name, dict.fromkeys(names)) if pattern is not None]
    if not patterns:
        return None
    by_first: dict[str, tuple[NamePattern, ...]] = {}
    for pattern in patterns:
        first = pattern.first_word[0]
        by_first[first] = (*by_first.get(first, ()), pattern)
    heads = {_head(pattern.first_word) for pattern in patterns}
    heads |= {f"{pattern.first_word[0]}." for pattern in patterns if pattern.begins_dotted}
    return _Matcher(tuple(heads), by_first)


def _head(word: str) -> str:
    """Return the part of a first word that every spelling of it shares; its final s may stand apart."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _hits(text: str, folded: Folded, matcher: _Matcher) -> Iterator[Span]:
    for start in _starts(folded.text, matcher.heads):
        if begins_word(folded.text, start):
            ends = [_end(text, folded, start, name) for name in matcher.by_first[folded.text[start]]]
            if (end := max(ends)) > start:
                yield Span(*folded.original(start, end))


def _starts(text: str, heads: Iterable[str]) -> list[int]:
    """Return where any of the heads stands, in order; a pattern of them all would be compiled for one answer only."""
    starts: set[int] = set()
    for head in heads:
        start = text.find(head)
        while start >= 0:
            starts.add(start)
            start = text.find(head, start + 1)
    return sorted(starts)


def _end(text: str, folded: Folded, start: int, name: NamePattern) -> int:
    """Return where the name ends that begins at `start` of the folded text, or -1 when it is not there."""
    match = name.pattern.match(folded.text, start)
    if match is None or not ends_word(folded.text, match.end()):
        return -1
    if name.exact is not None:
        first, last = folded.original(start, match.end())
        if name.exact.fullmatch(fold(text[first:last], keep_case=True).text) is None:
            return -1
    return match.end()


def _outside(hits: Sequence[Span], barriers: Sequence[Span]) -> list[Span]:
    """Return the hits that touch none of the barriers, which are sorted and disjoint."""
    kept = []
    for hit in hits:
        next_barrier = bisect_right(barriers, hit.start, key=lambda barrier: barrier.end)
        if next_barrier == len(barriers) or barriers[next_barrier].start >= hit.end:
            kept.append(hit)
    return kept


def _longest(hits: Sequence[Span]) -> list[Span]:
    chosen: list[Span] = []
    for hit in sorted(set(hits), key=lambda span: (span.start - span.end, span.start)):
        place = bisect_right(chosen, hit)
        after_previous = place == 0 or chosen[place - 1].end <= hit.start
        before_next = place == len(chosen) or hit.end <= chosen[place].start
        if after_previous and before_next:
            insort(chosen, hit)
    return chosen
