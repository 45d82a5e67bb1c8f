"""The invented world: which orgs there are, which question is about whom, and what every engine answers."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sandbox import lexicon
from sandbox.answers import WorldAnswer, WorldOrg
from sandbox.writing import write_answer

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MAX_SUBJECTS = 6  # a network's question is about many orgs; an answer speaks of a few of them
_KEY_LENGTH = 24


class BadWorld(ValueError):
    """The world file or body holds no organisations that can be read."""


class World:
    """Answers are a function of seed, question, engine, country and replicate, whatever was asked before.

    A question of several orgs is one of their network: an answer speaks of a few of them only, or mentions exactly
    `mentions_per_answer` of them.
    """

    def __init__(self, seed: int, orgs: Iterable[WorldOrg] = (), *, mentions_per_answer: int | None = None) -> None:
        self.seed = seed
        self.mentions_per_answer = mentions_per_answer
        self.orgs: dict[str, WorldOrg] = {}
        self._by_question: dict[str, list[tuple[str, WorldOrg]]] = defaultdict(list)
        self._answer = lru_cache(maxsize=4096)(self._write)
        self.learn(orgs)

    def learn(self, orgs: Iterable[WorldOrg]) -> None:
        """Add orgs, or questions to those of the same name."""
        for org in orgs:
            known = self.orgs.get(org.name, org)
            questions = tuple(dict.fromkeys((*known.questions, *org.questions)))
            self.orgs[org.name] = WorldOrg(org.name, org.websites or known.websites, questions)
        self._by_question.clear()
        for org in self.orgs.values():
            for question in org.questions:
                folded = _fold(question)
                self._by_question[folded[:_KEY_LENGTH]].append((folded, org))
        self._answer.cache_clear()

    def orgs_of(self, prompt: str) -> list[WorldOrg]:
        """Return the orgs that a prompt is about: by its question, else by a name in it, else none.

        A prompt may say more than the question, such as a localisation sentence after it.
        """
        folded = _fold(prompt)
        known = [pair for pair in self._by_question.get(folded[:_KEY_LENGTH], ()) if folded.startswith(pair[0])]
        if not known:
            known = [pair for pairs in self._by_question.values() for pair in pairs if pair[0] and pair[0] in folded]
        longest = max((len(question) for question, _ in known), default=0)
        orgs = [org for question, org in known if len(question) == longest]
        return orgs or [org for org in self.orgs.values() if _fold(org.name) in folded][:1]

    def answer(
        self, prompt: str, engine: str, country: str, *, replicate: str = "", faults: frozenset[str] = frozenset()
    ) -> WorldAnswer:
        """Return the answer; do not change it, it is shared. Faults: those of an answer's text, see faults.py."""
        return self._answer(prompt, engine, country.upper(), replicate, faults)

    def _write(self, prompt: str, engine: str, country: str, replicate: str, faults: frozenset[str]) -> WorldAnswer:
        rng = random.Random(f"{self.seed}|{engine}|{country}|{replicate}|{prompt}")
        orgs = self.orgs_of(prompt)
        members = orgs if len(orgs) > 1 else []
        exactly = self.mentions_per_answer
        most = MAX_SUBJECTS if exactly is None else exactly
        if len(members) > most:
            orgs = rng.sample(members, most)
        certain = bool(members) and exactly is not None
        huge = "huge_answer" in faults
        answer = write_answer(rng, prompt, engine, country, orgs, members=members, certain=certain, huge=huge)
        _spoil(rng, answer, faults, orgs)
        return answer


def _spoil(rng: random.Random, answer: WorldAnswer, faults: frozenset[str], orgs: list[WorldOrg]) -> None:
    """Append what the faults add; nothing before it moves, so the truth's offsets stay right."""
    if "injected_instructions" in faults:
        name = orgs[0].name if orgs else rng.choice(lexicon.ALL_BRANDS)
        answer.text += "\n\n" + rng.choice(lexicon.INJECTIONS).format(name=name)
    if "odd_characters" in faults:
        answer.text += "\n\nOdd bytes: \x00 \ud83d \u202e \ufeff end."


def _fold(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def orgs_from(document: Any) -> list[WorldOrg]:
    """Find the organisations anywhere in a YAML or JSON document.

    Questions of a network go to all its orgs, whether they stand in it or say its name.
    """
    found: dict[str, WorldOrg] = {}
    of_network = dict(_network_questions(document))
    for entry, inherited in _org_entries(document, ()):
        named = of_network.get(str(entry.get("network") or "").strip(), ())
        questions = (*_texts(entry.get("questions")), *inherited, *named)
        org = WorldOrg(
            str(entry["name"]).strip(), tuple(_texts(entry.get("websites"))), tuple(dict.fromkeys(questions))
        )
        found[org.name] = org
    return list(found.values())


def _org_entries(node: Any, inherited: tuple[str, ...]) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    if isinstance(node, list):
        for child in node:
            yield from _org_entries(child, inherited)
        return
    if not isinstance(node, dict):
        return
    for key, child in node.items():
        if key in ("orgs", "organisations", "organizations", "org") and child:
            handed_down = (*inherited, *_texts(node.get("questions")))
            for entry in child if isinstance(child, list) else [child]:
                if isinstance(entry, dict) and str(entry.get("name") or "").strip():
                    yield entry, handed_down
        else:
            yield from _org_entries(child, inherited)


def _network_questions(node: Any) -> Iterator[tuple[str, list[str]]]:
    if isinstance(node, list):
        for child in node:
            yield from _network_questions(child)
    elif isinstance(node, dict):
        for network in node.get("networks") or ():
            if isinstance(network, dict):
                yield str(network.get("name") or "").strip(), _texts(network.get("questions"))
        for child in node.values():
            yield from _network_questions(child)


def _texts(value: Any) -> list[str]:
    """Return the strings of a list of strings or of mappings with a text, url or question."""
    texts = []
    for entry in value if isinstance(value, list) else []:
        if isinstance(entry, dict):
            entry = next(
                (entry[key] for key in ("text", "question", "url", "website", "domain") if entry.get(key)), None
            )
        if isinstance(entry, str) and entry.strip():
            texts.append(entry.strip())
    return texts


def read_world_file(path: Path) -> list[WorldOrg]:
    """Read the orgs of a YAML or JSON file. Raises BadWorld with one sentence."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadWorld(f"The world file {path} cannot be read: {type(error).__name__}.") from error
    orgs = orgs_from(document)
    if not orgs:
        raise BadWorld(f"The world file {path} names no organisations.")
    return orgs


def example_orgs(folder: Path = EXAMPLES) -> list[WorldOrg]:
    """Read the orgs of the shipped examples; files that cannot be read are left out."""
    orgs: list[WorldOrg] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            orgs += read_world_file(path)
        except BadWorld:
            continue
    return orgs
