"""Write one Markdown answer: which brands it names, in what form, in whose favour, and from which sources."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sandbox import lexicon
from sandbox.answers import Source, Subject, WorldAnswer, WorldOrg, first_offsets
from sandbox.look_alikes import draw_look_alikes, draw_ordinary_uses

MENTION_SHARE = 0.6
ABSENCE_SHARE = 0.06
LOOK_ALIKE_SHARE = 0.15
HUGE_SHARE = 0.01
HUGE_CHARACTERS = 100_000


@dataclass(frozen=True)
class Entry:
    """One brand in the answer with the sentences about it; `subject` is the org when it is one."""

    name: str
    sentences: tuple[str, ...]
    url: str
    service: str
    rating: str
    subject: Subject | None


class Draft:
    """Text that grows, remembering which parts speak about which org."""

    def __init__(self, newline: str) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._newline = newline

    def add(self, text: str, subject: Subject | None = None) -> None:
        """Append; when an org is given the text without outer white space is one of its passages."""
        text = text.replace("\n", self._newline)
        if subject is not None and text.strip():
            start = self._length + len(text) - len(text.lstrip())
            self._mark(subject, start, self._length + len(text.rstrip()))
        self._parts.append(text)
        self._length += len(text)

    def _mark(self, subject: Subject, start: int, end: int) -> None:
        if subject.passages and start - subject.passages[-1][1] <= 1:
            start = subject.passages.pop()[0]
        subject.passages.append((start, end))

    @property
    def text(self) -> str:
        return "".join(self._parts)


def write_answer(
    rng: random.Random,
    question: str,
    engine: str,
    country: str,
    orgs: Sequence[WorldOrg],
    *,
    members: Sequence[WorldOrg] = (),
    certain: bool = False,
    huge: bool = False,
) -> WorldAnswer:
    """Return an answer to the question as the engine would give it; all choices come from `rng`.

    `orgs` may be mentioned, and are when that is `certain`. `members` are all orgs of the network that asks, if one
    does: then strangers with similar names are among the brands.
    """
    trade = trade_of(question)
    subjects = _subjects(rng, orgs, certain=certain)
    sources = _sources(rng, trade, orgs, subjects, engine)
    script = _script(rng, country)
    strangers = draw_look_alikes(rng, orgs, members) if members else []
    named = _named(rng, trade, subjects, [org.name for org in members], strangers)
    entries = [_entry(rng, trade, name, subject, sources, engine, script) for name, subject in named]
    look_alikes = _look_alikes(rng, orgs)
    draft = Draft("\r\n" if rng.random() < 0.05 else "\n")
    boilerplate = "Give feedback\n\n" if engine == "chatgpt" and rng.random() < 0.08 else ""
    draft.add(boilerplate)
    _opening(rng, draft, script, huge or rng.random() < HUGE_SHARE)
    _main_part(rng, draft, entries, script)
    draft.add("".join(draw_ordinary_uses(rng, orgs)) if members else "")
    _closing(rng, draft, subjects, look_alikes)
    text = draft.text
    brands = _ranked(text, [entry.name for entry in entries] + look_alikes, subjects)
    queries = [question.rstrip("?").lower()[:80], f"best {trade.services[0]} {country}"][: rng.randint(1, 2)]
    subjects = _everyone(subjects, members)
    return WorldAnswer(text, subjects, brands, strangers + look_alikes, sources, queries, boilerplate)


def trade_of(question: str) -> lexicon.Trade:
    """Return the first trade that the question's words give away, else the general one."""
    lowered = question.lower()
    for trade in lexicon.TRADES:
        if any(keyword in lowered for keyword in trade.keywords):
            return trade
    return lexicon.TRADES[-1]


def slug(name: str) -> str:
    """Return a name as it stands in an invented domain."""
    return re.sub(r"[^a-z0-9]+", "", name.lower()) or "brand"


def _subjects(rng: random.Random, orgs: Sequence[WorldOrg], *, certain: bool) -> list[Subject]:
    subjects = []
    for org in orgs:
        subject = Subject(org.name)
        draw = 0.0 if certain else rng.random()
        subject.mentioned = draw < MENTION_SHARE
        subject.absence_statement = MENTION_SHARE <= draw < MENTION_SHARE + ABSENCE_SHARE
        if subject.mentioned:
            subject.sentiment = rng.choices(("positive", "neutral", "negative"), (55, 30, 15))[0]
        subjects.append(subject)
    return subjects


def _sources(
    rng: random.Random, trade: lexicon.Trade, orgs: Sequence[WorldOrg], subjects: Sequence[Subject], engine: str
) -> list[Source]:
    pages: list[tuple[str, str, bool]] = []
    for org, subject in zip(orgs, subjects, strict=True):
        if subject.mentioned and org.websites and rng.random() < 0.65:
            path = rng.choice(("", "services", "about-us", "contact"))
            pages.append((f"{_with_scheme(rng.choice(org.websites)).rstrip('/')}/{path}", org.name, True))
    topic = trade.services[0]
    for domain, title in rng.sample(lexicon.THIRD_PARTIES, rng.randint(2, 4)):
        pages.append((f"https://{domain}/{slug(topic)}-{rng.randint(1, 40)}", title.format(topic=topic), False))
    brand = rng.choice(trade.brands)
    pages.append((f"https://www.{slug(brand)}.example/", brand, False))
    rng.shuffle(pages)
    tracking = "utm_source=chatgpt.com" if engine in ("chatgpt", "openai") else ""
    sources = []
    for position, (url, title, own) in enumerate(pages, start=1):
        url += ("&" if "?" in url else "?") + tracking if tracking and rng.random() < 0.6 else ""
        domain = urlsplit(url).netloc.removeprefix("www.")
        sources.append(Source(url, title, domain, position, own or rng.random() < 0.7, own))
    return sources


def _with_scheme(website: str) -> str:
    return website if "://" in website else f"https://{website}"


def _script(rng: random.Random, country: str) -> str | None:
    native = lexicon.SCRIPT_OF_COUNTRY.get(country.upper())
    if native is not None:
        return native if rng.random() < 0.5 else None
    return rng.choice(sorted(lexicon.SCRIPTS)) if rng.random() < 0.04 else None


def _named(
    rng: random.Random,
    trade: lexicon.Trade,
    subjects: Sequence[Subject],
    members: Sequence[str],
    strangers: Sequence[str],
) -> list[tuple[str, Subject | None]]:
    """Return the brands that get an entry, in their order, with the subject where one is an org."""
    named: list[tuple[str, Subject | None]] = [(s.name, s) for s in subjects if s.mentioned]
    taken = {name.casefold() for name in (*members, *(subject.name for subject in subjects))}
    rivals = [brand for brand in trade.brands if brand.casefold() not in taken]
    named += [(brand, None) for brand in rng.sample(rivals, rng.randint(5, 9))]
    named += [(stranger, None) for stranger in strangers]
    rng.shuffle(named)
    return named


def _everyone(subjects: list[Subject], members: Sequence[WorldOrg]) -> list[Subject]:
    """Return a subject for every member, also for those of whom the answer says nothing; without members as it is."""
    by_name = {subject.name: subject for subject in subjects}
    return [by_name.get(member.name) or Subject(member.name) for member in members] or subjects


def _entry(
    rng: random.Random,
    trade: lexicon.Trade,
    name: str,
    subject: Subject | None,
    sources: Sequence[Source],
    engine: str,
    script: str | None,
) -> Entry:
    mood = (subject.sentiment if subject else None) or rng.choice(("positive", "neutral", "neutral", "negative"))
    service = rng.choice(trade.services)
    first = lexicon.SCRIPTS[script][mood] if script else rng.choice(lexicon.SENTENCES[mood])
    sentences = [first.format(name=name, service=service) + _marker(rng, sources, engine, subject)]
    if not script and rng.random() < 0.6:
        sentences.append(rng.choice(lexicon.CONTINUATIONS[mood]))
    rating = {"positive": "4.8", "neutral": "4.0", "negative": "2.1"}[mood]
    return Entry(name, tuple(sentences), f"https://www.{slug(name)}.example/", service, rating, subject)


def _marker(rng: random.Random, sources: Sequence[Source], engine: str, subject: Subject | None) -> str:
    """Return a citation in the engine's own form, own pages preferred for the org."""
    cited = [source for source in sources if source.cited and (subject is not None or not source.own)]
    if not cited or rng.random() < 0.4:
        return ""
    own = [source for source in cited if source.own and subject is not None and source.title == subject.name]
    source = next(iter(own), rng.choice(cited))
    if engine == "chatgpt":
        return rng.choice((f" [{source.position}]", f" \\[{source.position}\\]", f" ([{source.domain}]({source.url}))"))
    if engine == "perplexity":
        return f"[{source.position}]"
    return f" ([{source.domain}]({source.url}))"


def _look_alikes(rng: random.Random, orgs: Sequence[WorldOrg]) -> list[str]:
    if not orgs or rng.random() >= LOOK_ALIKE_SHARE:
        return []
    return [f"{orgs[0].name.split()[0]} {rng.choice(lexicon.LOOK_ALIKE_SUFFIXES)}"]


def _opening(rng: random.Random, draft: Draft, script: str | None, huge: bool) -> None:
    intro = lexicon.SCRIPTS[script]["intro"] if script else rng.choice(lexicon.INTROS)
    draft.add(rng.choice(("", "", "## 🏆 At a glance\n\n")) + intro + rng.choice(("\n\n", "  \n\n\n")))
    while huge and len(draft.text) < HUGE_CHARACTERS:
        draft.add(" ".join(rng.choices(lexicon.FILLERS, k=400)) + "\n\n")


def _main_part(rng: random.Random, draft: Draft, entries: Sequence[Entry], script: str | None) -> None:
    forms: list[Callable[[random.Random, Draft, Sequence[Entry]], None]] = [_paragraph]
    if script is None:
        forms = [_paragraph, _list, _list, _table, _cards, _sections]
    rng.choice(forms)(rng, draft, entries)


def _paragraph(rng: random.Random, draft: Draft, entries: Sequence[Entry]) -> None:
    for number, entry in enumerate(entries):
        for sentence in entry.sentences:
            draft.add(sentence + " ", entry.subject)
        if number % 3 == 2:
            draft.add("\n\n")
    draft.add("\n\n")


def _list(rng: random.Random, draft: Draft, entries: Sequence[Entry]) -> None:
    nested = rng.random() < 0.5
    numbered = rng.random() < 0.6
    for number, entry in enumerate(entries, start=1):
        bullet = f"{number}." if numbered else "-"
        item = f"{bullet} **{entry.name}** {rng.choice(('–', '-', ':'))} {entry.sentences[0]}\n"
        if nested:
            rest = [*entry.sentences[1:], f"✅ {entry.service}", f"Rating: {entry.rating} ⭐"]
            item += "".join(f"{' ' * (len(bullet) + 1)}- {line}\n" for line in rest)
        else:
            item += "".join(f"{' ' * (len(bullet) + 1)}{line}\n" for line in entry.sentences[1:])
        draft.add(item, entry.subject)
    draft.add("\n")


def _table(rng: random.Random, draft: Draft, entries: Sequence[Entry]) -> None:
    draft.add("| Company | What people say | Rating |\n| :-- | --- | --: |\n")
    for entry in entries:
        said = " ".join(entry.sentences).replace("|", "\\|")
        draft.add(f"| **{entry.name}** | {said} | {entry.rating} |\n", entry.subject)
    draft.add("\n")


def _cards(rng: random.Random, draft: Draft, entries: Sequence[Entry]) -> None:
    linked = rng.random() < 0.6
    for entry in entries:
        title = f"**[{entry.name}]({entry.url})**" if linked else f"**{entry.name}**"
        lines = [title, f"{entry.rating} ⭐ · {entry.service}", *entry.sentences]
        draft.add("\n".join(lines) + "\n\n", entry.subject)


def _sections(rng: random.Random, draft: Draft, entries: Sequence[Entry]) -> None:
    emoji = rng.choice(("", "🔥 ", "⭐ "))
    for entry in entries:
        draft.add(f"### {emoji}{entry.name}\n\n{' '.join(entry.sentences)}\n\n", entry.subject)
    draft.add("## What to look for\n\n")


def _closing(rng: random.Random, draft: Draft, subjects: Sequence[Subject], look_alikes: Sequence[str]) -> None:
    for name in look_alikes:
        draft.add(f"Not to be confused with {name}, which is in another line of business. ")
    for subject in subjects:
        if subject.absence_statement:
            draft.add(rng.choice(lexicon.ABSENCE).format(name=subject.name) + " ", subject)
    draft.add(rng.choice(lexicon.FILLERS) + "\n\n")
    draft.add(rng.choice(lexicon.CLOSINGS))


def _ranked(text: str, names: Sequence[str], subjects: Sequence[Subject]) -> list[tuple[str, int]]:
    """Return the brands by first offset, and write the rank into the subjects that are mentioned."""
    found = list(first_offsets(names, text).items())
    order = [name for name, _ in found]
    for subject in subjects:
        subject.rank = order.index(subject.name) + 1 if subject.mentioned and subject.name in order else None
    return found
