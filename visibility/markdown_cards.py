"""Lines of a paragraph that are more than prose, cards, and the sections that headings begin.

A card is a bold or linked line with the lines under it: how assistants list shops, firms and products.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Every alternative below begins with another character: untrusted lines must not make the engine try all splits.
_LABEL = r"\[(?:[^\[\]\\\n]|\\.){1,160}\]\([^()\s]{1,2000}(?:\([^()\s]*\)[^()\s]*)?\)"
_BOLD = r"\*\*[^*\n]{1,160}\*\*|__[^_\n]{1,160}__"
_CARD_LINE = re.compile(
    rf"(?:[-*+•]\s+|\d{{1,3}}[.)]\s+)?(?:[^\w\s\[*_(<>|`]{{1,4}}\s?)?(?P<head>{_BOLD}|{_LABEL}|\*\*{_LABEL}\*\*)"
    r"(?:\([^()\n]{1,60}\)|\\?\[\d{1,3}\\?\]|[^\w\n\[(\\]|\d)*"
)
# What vendors write for list items where Markdown sees lines of a paragraph.
_BULLET = re.compile(r"\s*(?:[•●▪◦‣·➤►▶]|[–—]\s|-(?=[^\W\d_])|\d{1,2}[.)．、](?:\s|(?=[^\W\d_])))")
_TICK = re.compile(r"\s*[✓✔✅❌☑👉🔹🔸]")
_PSEUDO_ITEM = re.compile(rf"{_BULLET.pattern}|{_TICK.pattern}|\s*(?:⭐|\*\*[^*\n]{{1,80}}\*\*)")
_LIST_HEAD = re.compile(r"\s{0,3}\d{1,3}[.)]\s+\S")
_POINT = re.compile(r"\s{0,3}[-*+]\s+\S")
# "**Pros:**", "**Phone:** 555-0100": part of the card above. Any other bold line begins a card, "**Northwind:**" too.
_LABEL_LINE = re.compile(r"[^\w*]*\*\*[^\w*]*(?P<words>[^*\n:]{2,60})(?::\s?\*\*|\*\*\s?:)")
_FIELD = re.compile(
    r"(?:(?:key|main|notable|other|top) )?(?:(?:dis)?advantages?|benefits|cons|(?:down|up)sides?|drawbacks|features"
    r"|highlights|limitations|products|pros|services|special(?:i?ties|i[sz]es)|strengths?|weaknesses)\b"
    r"|(?:best|good|great|ideal) (?:for|if)\b|what (?:customers|it|people|they|users|we)\b|why\b"
    r"|(?:address|availability|contact|costs?|coverage|details|e-?mail|fees|hours|locations?|opening|overall|phone|pric"
    r"|rates?|ratings?|reviews?|telephone|verdict|website)"
)
_DELIMITER_ROW = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
_ENTITY_ITEM = re.compile(r"\s{0,20}(?:[-*+]|\d{1,3}[.)])\s{1,20}(?:\*\*|__|\[)(?![^*\n]{0,80}:\*\*|[^*\n]{0,80}\*\*:)")
_NUMBERED_TITLE = re.compile(r"\s{0,3}\d{1,3}[.)]\s+(?:\*\*|__|\[)\w")
_MAX_TITLE_CHARACTERS = 160
_MAX_HEADING_WORDS = 12
_DEPTHS = {"rule": 0, "heading": 1, "card": 7, "card_heading": 7}
_LABEL_DEPTH = 8
_MAX_CARD_LINE_CHARACTERS = 2500
_MAX_CARD_CHARACTERS = 1200


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of lines, `end` exclusive, of one kind; `level` 1 to 6 for headings, 8 for "**Pros:**", else 0."""

    kind: str
    start: int
    end: int
    level: int = 0


def is_card_line(line: str) -> bool:
    """Tell whether a line is nothing but a bold or linked title, maybe with a number, a rating or a marker."""
    match = _CARD_LINE.fullmatch(line.strip()) if len(line) <= _MAX_CARD_LINE_CHARACTERS else None
    if match is None:
        return False
    words = re.sub(r"\]\(.*", "", match.group("head")).split()
    is_sentence = match.group("head").rstrip("*_").endswith((".", "!", "?")) and len(words) > 6
    return len(words) <= _MAX_HEADING_WORDS and not is_sentence


def is_numbered_title(line: str) -> bool:
    """Tell whether a line is a number with a short title that begins bold or linked."""
    return len(line) <= _MAX_TITLE_CHARACTERS and _NUMBERED_TITLE.match(line) is not None


def split_paragraph(lines: Sequence[str], first: int, last: int) -> Iterator[Piece]:
    """Yield a paragraph's pieces: prose, table rows, card lines, and lines that stand for themselves."""
    begin = number = first
    while number < last:
        rows = _table_rows(lines, number, last)
        if rows:
            yield from _prose(lines, begin, number)
            yield Piece("table_row", number, number + 1)
            yield from (Piece("table_row", row, row + 1) for row in range(number + 2, rows))
            begin = number = rows
            continue
        if is_card_line(lines[number]):
            yield from _prose(lines, begin, number)
            yield Piece("card_heading", number, number + 1, level=_LABEL_DEPTH * _is_label(lines[number]))
            begin = number + 1
        elif _PSEUDO_ITEM.match(lines[number]) and number > first and not _is_nested(lines, begin, number):
            yield from _prose(lines, begin, number)
            begin = number
        number += 1
    yield from _prose(lines, begin, last)


def _is_nested(lines: Sequence[str], begin: int, number: int) -> bool:
    """Tell whether a line is indented below the item that begins at `begin`."""
    return bool(_BULLET.match(lines[begin])) and _indent(lines[number]) > _indent(lines[begin])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _prose(lines: Sequence[str], first: int, last: int) -> Iterator[Piece]:
    """Yield the lines as one item of a list that Markdown does not know, else as a paragraph."""
    if first >= last:
        return
    # A paragraph may begin with a tick; items come several in a row.
    neighbours = (lines[first - 1] if first else "", lines[last] if last < len(lines) else "")
    is_ticked = bool(_TICK.match(lines[first])) and any(map(_TICK.match, neighbours))
    yield Piece("list_item" if is_ticked or _BULLET.match(lines[first]) else "paragraph", first, last)


def is_list_head(lines: Sequence[str], number: int) -> bool:
    """Tell whether a line is a numbered item right above points that are indented no deeper."""
    return bool(_LIST_HEAD.match(lines[number])) and number + 1 < len(lines) and bool(_POINT.match(lines[number + 1]))


def _table_rows(lines: Sequence[str], number: int, last: int) -> int:
    """Return the line after the table that has its head at `number`, or 0 when none begins there."""
    if number + 1 >= last or "|" not in lines[number] or "|" not in lines[number + 1]:
        return 0
    if not _DELIMITER_ROW.fullmatch(lines[number + 1].strip()):
        return 0
    return next((row for row in range(number + 2, last) if "|" not in lines[row]), last)


def gather_cards(pieces: Sequence[Piece], lines: Sequence[str]) -> list[Piece]:
    """Return the pieces with each card line and what belongs to it as one `card`.

    A bold line over longer text or over a list of several brands heads a section instead and stays
    a `card_heading`, so that one brand's passage does not take in the others.
    """
    gathered: list[Piece] = []
    tight_above: bool | None = None
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        index += 1
        if piece.kind != "card_heading":
            tight_above = None
            gathered.append(piece)
            continue
        members = _members(pieces, index, lines)
        tight = _tight(members, lines)
        if tight_above and tight and _is_last(pieces, index + len(members)):
            members = tight
        tight_above = tight_above is not False and members == tight
        if _is_one_card(piece, members, lines):
            gathered.append(Piece("card", piece.start, members[-1].end if members else piece.end, piece.level))
            index += len(members)
        else:
            gathered.append(piece)
    return gathered


def _is_last(pieces: Sequence[Piece], following: int) -> bool:
    return following == len(pieces) or pieces[following].kind != "card_heading"


def _members(pieces: Sequence[Piece], first: int, lines: Sequence[str]) -> list[Piece]:
    """Return what stands under a card line: all up to the next one; "**Pros:**" inside a card begins none."""
    is_label = _is_label(lines[pieces[first - 1].start])
    members: list[Piece] = []
    for index in range(first, len(pieces)):
        piece = pieces[index]
        starts_card = piece.kind == "card_heading" and (is_label or not _is_label(lines[piece.start]))
        if starts_card or piece.kind in ("heading", "rule"):
            break
        members.append(piece)
    return members


def _is_label(line: str) -> bool:
    match = _LABEL_LINE.match(line)
    return match is not None and _FIELD.match(match.group("words").lower()) is not None


def _tight(members: Sequence[Piece], lines: Sequence[str]) -> list[Piece]:
    """Return the members up to the first empty line.

    Where the cards above are all of this kind, the text after the last one's empty line closes the answer.
    """
    kept: list[Piece] = []
    for member in members:
        if not lines[member.start - 1].strip():
            break
        kept.append(member)
    return kept


def _is_one_card(head: Piece, members: Sequence[Piece], lines: Sequence[str]) -> bool:
    if not members:
        return True
    inside = lines[head.end : members[-1].end]
    entities = sum(bool(_ENTITY_ITEM.match(line)) for line in inside)
    groups = sum(not line.strip() for line in inside)
    # A list after an empty line ("**Tips**") is a section's: its items speak about different things.
    many = {"table_row", "list_item", "list_head"} if not inside[0].strip() else {"table_row"}
    return (
        sum(map(len, inside)) <= _MAX_CARD_CHARACTERS
        and entities < 2
        and groups <= 3
        and all(member.kind not in many for member in members)
    )


def section_ends(pieces: Sequence[Piece], line_count: int) -> list[int | None]:
    """Return for each heading the line where its section ends, for other pieces None.

    A section ends at the next heading of its level or above, or at a rule. The title over several sections
    names the topic of the answer, so its own section ends at the next heading of any level.
    """
    heads = _heads(pieces)
    title = title_index(pieces)
    ends: list[int | None] = [None] * len(pieces)
    for place, index in enumerate(heads):
        if pieces[index].kind in ("heading", "card_heading"):
            after = 1 if index == title else _next_peer(pieces, heads, place)
            following = heads[after] if after < len(heads) else len(pieces)
            while pieces[following - 1].kind == "rule":
                following -= 1
            ends[index] = pieces[following].start if following < len(pieces) else line_count
    for index, piece in enumerate(pieces):
        if piece.kind == "list_head":
            ends[index] = _list_end(pieces, index)
    return ends


def title_index(pieces: Sequence[Piece]) -> int | None:
    """Return the index of the heading over all other sections, two or more; None when there is none."""
    heads = _heads(pieces)
    is_title = len(heads) > 2 and pieces[heads[0]].kind == "heading" and _next_peer(pieces, heads, 0) == len(heads)
    return heads[0] if is_title else None


def _heads(pieces: Sequence[Piece]) -> list[int]:
    heads = [index for index, piece in enumerate(pieces) if piece.kind in _DEPTHS]
    return [i for i in heads if pieces[i].kind != "rule" or i + 1 == len(pieces) or pieces[i + 1].kind != "heading"]


def _list_end(pieces: Sequence[Piece], index: int) -> int:
    """Return the line after the points that follow the item at `index` without an empty line."""
    end = pieces[index].end
    for place in range(index + 1, len(pieces)):
        if pieces[place].kind != "list_item" or pieces[place].start != end:
            break
        end = pieces[place].end
    return end


def _next_peer(pieces: Sequence[Piece], heads: Sequence[int], place: int) -> int:
    """Return the place of the next head that is not below the one at `place`."""
    depth = _depth(pieces[heads[place]])
    return next((i for i in range(place + 1, len(heads)) if _depth(pieces[heads[i]]) <= depth), len(heads))


def _depth(piece: Piece) -> int:
    return piece.level or _DEPTHS[piece.kind]
