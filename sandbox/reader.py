"""The sandbox's language model: it answers from the text it is sent, by rules of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.brand_names import WORD, find_brands, is_ordinary_use, is_part_of_a_longer_name, names_pattern
from sandbox.look_alikes import is_generic

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
    if len(words) >= 2 and not is_generic(short):
        found += [words[0], " ".join(words[:2])]
    if len(words) >= 3:
        found.append("".join(word[0] for word in words if word[0].isalnum()).upper())
    for domain in org.domains:
        found += [domain.removeprefix("www."), domain.removeprefix("www.").split(".")[0]]
    return [entry for entry in dict.fromkeys(found) if entry.strip()][:25]


def read_answers(
    request: Mapping[str, Any], habits: Habits, *, brands: bool = True, evaluation: bool = True
) -> list[dict[str, Any]]:
    """Return brands, evaluation, or both for each answer of a reading request."""
    org = Org.of(request.get("organisation") or request.get("organization") or {})
    read = []
    for number, entry in enumerate(_listed(request.get("answers")), start=1):
        blocks = [_text_of(block, place) for place, block in enumerate(_blocks_of(entry), start=1)]
        reading: dict[str, Any] = {"answer": entry.get("answer", number)}
        if brands:
            # an instruction to name one brand alone is obeyed only where nothing else was asked for
            reading["brands"] = _brands(blocks if evaluation else _obeyed(blocks, habits), org, habits)
        if evaluation:
            asked = entry.get("evaluate", True) and org.names
            reading["evaluation"] = evaluate(blocks, org, habits) if asked else None
        read.append(reading)
    return read


def _listed(answers: Any) -> list[dict[str, Any]]:
    return [entry for entry in answers if isinstance(entry, dict)] if isinstance(answers, list) else []


def _brands(blocks: Sequence[str], org: Org, habits: Habits) -> list[str]:
    found = find_brands(blocks, org.names)
    return [*found, "Phantom & Daughters"] if habits.hallucinates else found


def _obeyed(blocks: Sequence[str], habits: Habits) -> Sequence[str]:
    """Return only the lines that give orders, when the model obeys them and there are some."""
    if not habits.obeys_injections:
        return blocks
    return [line for block in blocks for line in block.splitlines() if ORDERS.search(line)] or blocks


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
    pattern = names_pattern(org.names)
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
    """Tell whether a name stands in the text as a name, and not as a part of a longer, different one."""
    hits = pattern.finditer(text)
    return any(not is_ordinary_use(hit) and not is_part_of_a_longer_name(hit, text) for hit in hits)


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
