"""An answer's Markdown cut into numbered blocks: the units in which a reader quotes what is said about an org.

A sentence of a paragraph, a list item with all under it, a table row, a card, a heading. Offsets point into the
unaltered text; markdown-it gives the structure by lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from visibility.markdown_cards import (
    Piece,
    gather_cards,
    is_card_line,
    is_list_head,
    is_numbered_title,
    section_ends,
    split_paragraph,
    title_index,
)
from visibility.sentences import split_sentences

BlockKind = Literal["sentence", "list_item", "table_row", "card", "heading", "card_heading", "line", "code"]

# Beyond this no person wrote the text, and the parser would need seconds for it.
_MAX_LINES = 5000
_LITERAL_NEWLINE = re.compile(r"\\r\\n|\\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One block, numbered from 1; offsets into the unaltered text, `end` exclusive.

    `section_end` is the end of what the block heads: of the section for a heading, else its own end. The title
    over several sections (`is_title`) heads only what stands before the first of them.
    """

    number: int
    start: int
    end: int
    kind: BlockKind
    section_end: int
    is_title: bool = False


def split_blocks(text: str) -> list[Block]:
    """Return the blocks of a Markdown text in order, without overlaps, each beginning and ending with a visible
    character; every letter and digit of the text is in one. An empty text has none.
    """
    view = _line_view(text)
    lines = view.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    pieces = _complete(_pieces(view, lines), lines) if len(lines) <= _MAX_LINES else list(_each_line(lines))
    pieces = gather_cards(pieces, lines)
    ends = section_ends(pieces, len(lines))
    title = title_index(pieces)
    blocks: list[Block] = []
    for index, (piece, last_line) in enumerate(zip(pieces, ends, strict=True)):
        for start, end in _spans(view, starts[piece.start], starts[piece.end] - 1, piece.kind):
            section_end = end if last_line is None else _trim(view, start, starts[last_line] - 1)[1]
            blocks.append(Block(len(blocks) + 1, start, end, _kind(piece.kind), section_end, index == title))
    return blocks


def _line_view(text: str) -> str:
    r"""Return the text at the same length with every kind of line end as "\n".

    Some vendors deliver line ends as a backslash and an "n"; they count as such when there are no real ones.
    """
    view = text.replace("\r\n", " \n")
    for line_end in "\r\v\f\x85\u2028\u2029":
        view = view.replace(line_end, "\n")
    if "\n" not in view.strip() and "\\n" in view:
        view = _LITERAL_NEWLINE.sub(lambda match: " " * (len(match.group()) - 1) + "\n", view)
    return view.replace("\x00", "\ufffd")


@cache
def _parser() -> MarkdownIt:
    # Indented text of an assistant is prose, not code; tables are found by `split_paragraph`, which costs a
    # tenth of the parser's cells; inline rules are not needed.
    parser = MarkdownIt("commonmark", {"maxNesting": 20}).disable(["code"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _pieces(view: str, lines: Sequence[str]) -> list[Piece]:
    tokens = _parser().parse(view)
    found: list[Piece] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.type in ("bullet_list_open", "ordered_list_open"):
            end = _close(tokens, index)
            found.extend(_items(tokens[index:end], token.level + 1, lines))
            index = end
        elif token.map is not None:
            found.extend(_piece(token, lines))
        index += 1
    return found


def _close(tokens: Sequence[Token], start: int) -> int:
    closing = tokens[start].type.replace("_open", "_close")
    level = tokens[start].level
    return next(
        (i for i in range(start + 1, len(tokens)) if tokens[i].level == level and tokens[i].type == closing),
        len(tokens) - 1,
    )


def _items(tokens: Sequence[Token], level: int, lines: Sequence[str]) -> Iterator[Piece]:
    maps = [token.map for token in tokens if token.type == "list_item_open" and token.level == level and token.map]
    for first, last in maps:
        while last > first + 1 and not lines[last - 1].strip():
            last -= 1
        # "1. **Name** - what" alone, its text not indented below: how assistants write cards.
        is_card = (
            len(maps) == 1 and last == first + 1 and (is_card_line(lines[first]) or is_numbered_title(lines[first]))
        )
        # "2. Name" with the points under it not indented: they are lists of their own for the parser.
        is_head = len(maps) == 1 and last == first + 1 and is_list_head(lines, first)
        yield Piece("card_heading" if is_card else "list_head" if is_head else "list_item", first, last)


def _piece(token: Token, lines: Sequence[str]) -> Iterator[Piece]:
    first, last = token.map or (0, 0)
    if token.type == "heading_open" and (token.markup.startswith("#") or _is_title(lines[first:last])):
        yield Piece("heading", first, last, level=int(token.tag[1]))
    elif token.type in ("paragraph_open", "heading_open", "html_block"):
        yield from split_paragraph(lines, first, last)
    elif token.type == "fence" and token.info.strip() in ("", "text", "markdown", "md", "plaintext"):
        is_closed = last > first + 1 and lines[last - 1].strip().startswith(token.markup)
        yield Piece("fence", first, first + 1)
        yield from (Piece("line", number, number + 1) for number in range(first + 1, last - is_closed))
    elif token.type == "fence":
        yield Piece("code", first, last)
    elif token.type == "hr":
        yield Piece("rule", first, last)


def _is_title(lines: Sequence[str]) -> bool:
    """Tell a title underlined with dashes from a paragraph that a rule follows without an empty line."""
    return len(lines) == 2 and len(lines[0]) <= 100 and not lines[0].rstrip().endswith((".", "!", "?", ":", "*"))


def _each_line(lines: Sequence[str]) -> Iterator[Piece]:
    return (Piece("line", number, number + 1) for number, line in enumerate(lines) if line.strip())


def _complete(pieces: Sequence[Piece], lines: Sequence[str]) -> list[Piece]:
    """Return the pieces in order with the lines that the parser reported in none, and none reported twice."""
    complete: list[Piece] = []
    reached = 0
    for piece in [*sorted(pieces, key=lambda piece: piece.start), Piece("rule", len(lines), len(lines))]:
        complete.extend(Piece("line", n, n + 1) for n in range(reached, piece.start) if _has_letter(lines[n]))
        if piece.start >= reached and piece.end > piece.start:
            complete.append(piece)
        reached = max(reached, piece.end)
    return complete


def _has_letter(line: str) -> bool:
    return any(map(str.isalnum, line))


def _kind(kind: str) -> BlockKind:
    shown = {"paragraph": "sentence", "list_head": "list_item"}
    return shown.get(kind, kind)  # type: ignore[return-value]  # rules give no block


def _spans(view: str, start: int, end: int, kind: str) -> list[tuple[int, int]]:
    start, end = _trim(view, start, end)
    if start >= end or kind in ("rule", "fence"):
        return []
    return split_sentences(view, start, end) if kind == "paragraph" else [(start, end)]


def _trim(view: str, start: int, end: int) -> tuple[int, int]:
    inside = view[start:end]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())
