"""The labelled set: answers, and what a careful human reader finds in them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid5

import yaml

from visibility.domain import OrgProfile, Sentiment, StoredAnswer
from visibility.names_core import core_variations

NAMESPACE = UUID("6f6d3f0c-63a0-4a53-9d4e-6f8f0f7c2f11")


@dataclass(frozen=True, slots=True)
class Label:
    """What is to be found in one answer; `passages` verbatim, none where the org is not mentioned."""

    passages: tuple[str, ...]
    sentiment: Sentiment | None
    competitors: tuple[str, ...]
    cited: frozenset[str]
    owned: frozenset[str]


@dataclass(frozen=True, slots=True)
class Case:
    """One answer of the set; `kind` says what makes it hard."""

    kind: str
    answer: StoredAnswer
    label: Label


@dataclass(frozen=True, slots=True)
class LabelledOrg:
    """An organisation with its cases."""

    profile: OrgProfile
    cases: tuple[Case, ...]


def labelled_orgs() -> list[LabelledOrg]:
    """Return the set. Raises ValueError for a passage that does not stand in its text."""
    data = yaml.safe_load(files("evals").joinpath("labelled.yaml").read_text("utf-8"))
    return [_org(entry) for entry in data["orgs"]]


def _org(entry: dict[str, Any]) -> LabelledOrg:
    name, websites = entry["name"], tuple(entry["websites"])
    names = dict.fromkeys([name, *core_variations(name, list(websites)), *entry["names"]])
    profile = OrgProfile(uuid5(NAMESPACE, name), name, tuple(names), websites)
    return LabelledOrg(profile, tuple(_case(name, number, case) for number, case in enumerate(entry["cases"], 1)))


def _case(name: str, number: int, entry: dict[str, Any]) -> Case:
    run_id = uuid5(NAMESPACE, f"{name}|{number}")
    answer = StoredAnswer(run_id, entry["question"], entry["text"], None, "chatgpt")
    label = Label(
        passages=tuple(entry.get("passages", ())),
        sentiment=entry.get("sentiment"),
        competitors=tuple(entry.get("competitors", ())),
        cited=frozenset(entry.get("cited", ())),
        owned=frozenset(entry.get("owned", ())),
    )
    if not all(passage in answer.response_text for passage in label.passages):
        raise ValueError(f"{name}, case {number}: a passage does not stand in the text.")
    if bool(label.passages) != (label.sentiment is not None):
        raise ValueError(f"{name}, case {number}: a sentiment belongs to a mention.")
    return Case(entry["kind"], answer, label)
