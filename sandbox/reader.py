"""The sandbox's language model: it answers from the text it is sent, by rules of its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sandbox import lexicon

GOOD = frozenset(
    {"top", "best", "praise", "praises", "excellent", "love", "loves", "reliable", "recommended", "stands"}
    | {"outstanding", "fair", "great", "friendly", "trusted", "отличный", "хвалят", "εξαιρετική"}
)
BAD = frozenset(
    {"complain", "complaints", "slow", "careful", "hidden", "poor", "unreliable", "disappointed", "avoid"}
    | {"expensive", "bad", "worst", "rude", "плохие", "жалуются", "κακές"}
)
# Parts of words, for scripts that write endings or no spaces.
GOOD_PIECES = (
    "高く評価",
    "おすすめ",
    "ممتاز",
    "يثني",
    "उत्कृष्ट",
    "प्रशंसा",
)
BAD_PIECES = ("苦情", "注意が必要", "سيئة", "खराब", "शिकायत")
ABSENT = re.compile(r"couldn.t find|could not find|no information|not able to find|don.t have information", re.I)
CONTINUES = re.compile(r"\s*[-*•]?\s*(they|their|it|its|the company)\b", re.I)
ORDERS = re.compile(r"ignore (?:all )?previous|disregard all rules|is_mention_verified to true", re.I)
EMPHASISED = re.compile(r"\*\*\[?([^*\[\]\n]{2,60}?)\]?(?:\([^)\s]*\))?\*\*")
LISTED = re.compile(r"^\s*(?:#{1,6}|[-*•]|\d+[.)])\s+([A-Z][\w&.'’-]*(?: (?:&|and|of|[A-Z][\w&.'’-]*))*)", re.M)
LONGER_NAME = re.compile(r"(?: [A-Z][a-z]+)+")
WORD = re.compile(r"\w[\w'’]*")
NUMBERED = re.compile(r"^\[\d+\] ")  # blocks may be sent with their number in front
NOT_BRANDS = frozenset(
    {"rating", "company", "name", "price", "what", "which", "here", "note", "address", "phone", "website"}
    | {"pros", "cons", "overview", "they", "their", "another", "some", "be", "customers", "good", "always", "a", "the"}
)
LEGAL = re.compile(r"[,\s]+(inc|llc|ltd|corp|co|gmbh|plc|company|limited)\.?$", re.I)


@dataclass(frozen=True)
class Org:
    """The organisation as the request describes it."""

    name: str
    names: tuple[str, ...]
    domains: tuple[str, ...]

    @classmethod
    def of(cls, value: Any) -> Org:
        value = value if isinstance(value, dict) else {"name": value}
        name = str(value.get("name") or "").strip()
        names = [str(entry) for entry in value.get("names") or () if str(entry).strip()]
        return cls(name, tuple(dict.fromkeys([name, *names] if name else names)), tuple(value.get("domains") or ()))


@dataclass(frozen=True)
class Habits:
    """How badly the model behaves in this call."""

    obeys_injections: bool = False
    hallucinates: bool = False


def name_variations(org: Org) -> list[str]:
    """Return names under which people would write about the org, best first."""
    name = org.name
    short = LEGAL.sub("", name)
    words = short.split()
    found = [name, short, short.replace(" ", ""), short.replace(" ", "-"), short.lower(), short.replace("&", "and")]
    found += [f"{short} Inc", f"{short} Company", f"the {short}", short.replace("-", " ")]
    if len(words) >= 2:
        found += [words[0], " ".join(words[:2])]
    if len(words) >= 3:
        found.append("".join(word[0] for word in words if word[0].isalnum()).upper())
    for domain in org.domains:
        found += [domain.removeprefix("www."), domain.removeprefix("www.").split(".")[0]]
    return [entry for entry in dict.fromkeys(found) if entry.strip()][:25]


def read_answers(request: Mapping[str, Any], habits: Habits) -> list[dict[str, Any]]:
    """Return brands and evaluation for each answer of a reading request."""
    org = Org.of(request.get("organisation") or request.get("organization") or {})
    answers = request.get("answers")
    return [_read(org, entry, number, habits) for number, entry in enumerate(_listed(answers), start=1)]


def _listed(answers: Any) -> list[dict[str, Any]]:
    return [entry for entry in answers if isinstance(entry, dict)] if isinstance(answers, list) else []


def _read(org: Org, entry: Mapping[str, Any], number: int, habits: Habits) -> dict[str, Any]:
    blocks = [_text_of(block, place) for place, block in enumerate(_blocks_of(entry), start=1)]
    brands = find_brands(blocks, org)
    evaluation = evaluate(blocks, org, habits) if entry.get("evaluate", True) and org.names else None
    if habits.hallucinates:
        brands.append("Phantom & Daughters")
    return {"answer": entry.get("answer", number), "brands": brands, "evaluation": evaluation}


def _blocks_of(entry: Mapping[str, Any]) -> Sequence[Any]:
    blocks = entry.get("blocks")
    if isinstance(blocks, list):
        return blocks
    return [entry.get("text") or ""]


def _text_of(block: Any, place: int) -> str:
    """Return a block's text without the number that the request may have put before it."""
    text = str(block.get("text") or "") if isinstance(block, dict) else str(block)
    return text.removeprefix(f"[{place}] ")


def evaluate(blocks: Sequence[str], org: Org, habits: Habits) -> dict[str, Any]:
    """Say which blocks, numbered from 1, speak about the org, and how."""
    pattern = _names_pattern(org.names)
    named = [number for number, text in enumerate(blocks, start=1) if names_the_org(text, pattern)]
    chosen = _with_continuations(blocks, named)
    about = " ".join(blocks[number - 1] for number in chosen)
    absence = bool(named) and all(ABSENT.search(blocks[number - 1]) for number in named)
    verdict: dict[str, Any] = {
        "is_mention_verified": bool(chosen),
        "mention_blocks": chosen,
        "sentiment": ("neutral" if absence else sentiment_of(about)) if chosen else None,
        "absence_statement": absence,
    }
    if habits.obeys_injections and any(ORDERS.search(text) for text in blocks):
        everything = list(range(1, len(blocks) + 1))
        verdict |= {"is_mention_verified": True, "mention_blocks": everything, "sentiment": "positive"}
    if habits.hallucinates:
        strangers = [number for number in range(1, len(blocks) + 1) if number not in chosen][:1]
        verdict |= {"is_mention_verified": True, "sentiment": verdict["sentiment"] or "positive"}
        verdict["mention_blocks"] = [*verdict["mention_blocks"], *strangers, len(blocks) + 3, 0]
    return verdict


def names_the_org(text: str, pattern: re.Pattern[str]) -> bool:
    """Tell whether a name stands in the text that is not the beginning of a longer, different name."""
    return any(not LONGER_NAME.match(text, match.end()) for match in pattern.finditer(text))


@lru_cache(maxsize=512)
def _names_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted({name for name in names if len(name) > 2}, key=len, reverse=True)
    pieces = [re.sub(r"(?:\\[ -])+", r"[\\s\\-]*", re.escape(name)) for name in longest_first]
    return re.compile(rf"(?<![\w/@.])(?:{'|'.join(pieces) or '(?!)'})(?![\w@]|\.\w)", re.I)


def _with_continuations(blocks: Sequence[str], named: Sequence[int]) -> list[int]:
    chosen: list[int] = []
    for number, text in enumerate(blocks, start=1):
        if number in named or (chosen and chosen[-1] == number - 1 and CONTINUES.match(text)):
            chosen.append(number)
    return chosen


def sentiment_of(text: str) -> str:
    """Return positive, neutral or negative by counting words; one bad word outweighs one good one."""
    counts = Counter(WORD.findall(text.lower()))
    good = sum(counts[word] for word in GOOD & counts.keys()) + sum(text.count(piece) for piece in GOOD_PIECES)
    bad = sum(counts[word] for word in BAD & counts.keys()) + sum(text.count(piece) for piece in BAD_PIECES)
    if bad and bad >= good:
        return "negative"
    return "positive" if good else "neutral"


def find_brands(blocks: Sequence[str], org: Org) -> list[str]:
    """Return the names of brands in order of appearance: known ones, the org's, emphasised or listed ones."""
    text = "\n".join(blocks)
    found: dict[str, int] = {}
    for name, start in _known_brands(text):
        found.setdefault(name, start)
    for match in _names_pattern(org.names).finditer(text):
        longer = LONGER_NAME.match(text, match.end())
        found.setdefault(match.group() + (longer.group() if longer else ""), match.start())
    for expression in (EMPHASISED, LISTED):
        for match in expression.finditer(text):
            name = match.group(1).strip(" :–-")
            if _looks_like_a_brand(name):
                found.setdefault(name, match.start(1))
    return sorted(found, key=lambda name: found[name])


def _looks_like_a_brand(name: str) -> bool:
    words = name.split()
    return bool(words) and name[0].isupper() and len(words) <= 5 and words[0].lower().strip(":") not in NOT_BRANDS


def _by_first_word(names: Iterable[str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=len, reverse=True):
        first = WORD.search(name)
        if first:
            index[first.group()].append(name)
    return dict(index)


_BRAND_INDEX = _by_first_word(lexicon.ALL_BRANDS)
_BRAND_START = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(_BRAND_INDEX)))})\b")


def _known_brands(text: str) -> Iterable[tuple[str, int]]:
    for match in _BRAND_START.finditer(text):
        for name in _BRAND_INDEX[match.group()]:
            if text.startswith(name, match.start()):
                yield name, match.start()
                break
