"""Invented orgs for a night: names that share no word, questions of their own, 60 answers each as the example org."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import text
from sqlalchemy.orm import Session

ONSETS = ("B", "Br", "C", "Cl", "D", "Dr", "F", "Fl", "G", "Gr", "H", "K", "L", "M", "N", "P", "R", "S", "St", "T")
VOWELS = ("a", "e", "i", "o", "u")
ORG_ENDINGS = (
    "bourne", "caster", "croft", "dale", "drake", "fell", "field", "fleet", "garth", "grave", "hurst", "kirk", "land",
    "leigh", "lock", "march", "mere", "mond", "mouth", "ness", "nor", "pool", "quist", "ridge", "rook", "shaw", "stead",
    "sten", "strand", "thorpe", "vale", "wall", "ward", "water", "wick", "wold", "worth",
)  # fmt: skip
TOWN_ENDINGS = ("bridge", "bury", "combe", "ford", "ham", "minster", "port", "stow", "ton", "well")
MODELS = ("chatgpt", "perplexity", "gemini")
LOCATIONS = (("US", None, None), ("CA", "Ontario", "Toronto"))
QUESTIONS = (
    "In {town}, which company offers the best 24/7 furnace repair?",
    "In {town}, who installs heat pumps in older brick houses?",
    "In {town}, what does a high-efficiency gas furnace cost, installed, and who sells them?",
    "In {town}, which heating companies have the most reliable maintenance plans?",
    "In {town}, is {name} a good choice for boiler repair?",
    "In {town}, which HVAC contractors offer financing for a new furnace?",
    "In {town}, my furnace stopped working at night. Who should I call?",
    "In {town}, {name} or a national chain – who is better for a heat pump?",
    "In {town}, which local companies handle the rebate paperwork for heat pumps?",
    "In {town}, who offers tankless water heaters with same-week installation?",
)
ANSWERS_PER_ORG = len(QUESTIONS) * len(MODELS) * len(LOCATIONS)
INPUTS_PER_ENGINE = len(QUESTIONS) * len(LOCATIONS)
MOST_ORGS = len(ONSETS) * len(VOWELS) * len(ORG_ENDINGS)

ORGS = "json_to_recordset(CAST(:orgs AS json)) AS org (org_id uuid, name text, websites json, questions json)"
TABLES = (  # one statement per table, whatever the number of orgs
    "INSERT INTO partners (partner_id, name) VALUES (:partner_id, :partner)",
    f"INSERT INTO orgs (org_id, partner_id, name) SELECT org_id, CAST(:partner_id AS uuid), name FROM {ORGS}",
    f"INSERT INTO org_websites (org_id, url) SELECT org_id, json_array_elements_text(websites) FROM {ORGS}",
    f"INSERT INTO geo_models (org_id, name) SELECT org_id, unnest(CAST(:models AS text[])) FROM {ORGS}",
    f"""INSERT INTO locations (org_id, country_code, region_name, city) SELECT org_id, country, region, city
        FROM {ORGS}, (VALUES ('US', NULL, NULL), ('CA', 'Ontario', 'Toronto')) AS place (country, region, city)""",
    f"""INSERT INTO geo_questions (org_id, question_text)
        SELECT org_id, json_array_elements_text(questions) FROM {ORGS}""",
    f"""INSERT INTO credit_balances (payer_type, payer_id, current_balance)
        SELECT 'ORG', org_id, CAST(:balance AS numeric) FROM {ORGS}""",
    f"""INSERT INTO credit_top_ups (payer_type, payer_id, amount, note)
        SELECT 'ORG', org_id, CAST(:balance AS numeric), 'benchmark' FROM {ORGS}""",
)
BALANCE_USD = 1000


@dataclass(frozen=True)
class Town:
    """Orgs as the sandbox and the database learn of them; `first` is the number of the first among all that exist."""

    first: int
    orgs: tuple[dict[str, Any], ...]

    @property
    def org_ids(self) -> list[UUID]:
        return [UUID(org["org_id"]) for org in self.orgs]

    def part(self, start: int, stop: int) -> list[UUID]:
        """Return the ids of a slice."""
        return self.org_ids[start:stop]


def build(first: int, number: int) -> Town:
    """Return `number` orgs from the `first` on; two towns that do not overlap share no name.

    Raises ValueError beyond the names that exist.
    """
    if first + number > MOST_ORGS:
        raise ValueError(f"There are names for {MOST_ORGS:,} orgs, not for {first + number:,}.")
    return Town(first, tuple(_org(place) for place in range(first, first + number)))


def _org(place: int) -> dict[str, Any]:
    syllables = len(ONSETS) * len(VOWELS)
    start = ONSETS[place % len(ONSETS)] + VOWELS[place % syllables // len(ONSETS)]
    name = f"{start}{ORG_ENDINGS[place // syllables]} Heating"
    # the town stands first: the sandbox finds a question by its beginning
    town = f"{ORG_ENDINGS[place // syllables].title()}{start.lower()}{TOWN_ENDINGS[place % len(TOWN_ENDINGS)]}"
    site = name.lower().replace(" ", "")
    return {
        "org_id": str(uuid4()),
        "name": name,
        "websites": [f"https://{site}.example", f"https://{site}.example/{town.lower()}"],
        "questions": [question.format(town=town, name=name) for question in QUESTIONS],
    }


def seed(session: Session, town: Town) -> None:
    """Write the orgs with models, locations, questions and money under a partner of their own."""
    given = {
        "partner_id": str(uuid4()),
        "partner": f"Partner of {len(town.orgs)} orgs from {town.first}",
        "orgs": json.dumps(town.orgs),
        "models": list(MODELS),
        "balance": BALANCE_USD,
    }
    for statement in TABLES:
        session.execute(text(statement), given)


def tell(sandbox_url: str, orgs: Sequence[dict[str, Any]]) -> None:
    """Tell a sandbox of orgs, in one request."""
    httpx.post(f"{sandbox_url}/_world", json={"orgs": list(orgs)}, timeout=60).raise_for_status()
