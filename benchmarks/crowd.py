"""Networks to measure: invented orgs whose names share no word, so that a name hit is a mention, not a look-alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import product
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from sqlalchemy import insert
from sqlalchemy.orm import Session

from benchmarks.stage import Stage
from visibility.domain import Network, expected_runs
from visibility.store.load import load_file
from visibility.store.networks import load_network
from visibility.store.tables import Batch, QuestionRunRow

FIRST = ("Alder", "Brim", "Cor", "Dun", "Esk", "Fen", "Gar", "Hol", "Ister", "Jor")
SECOND = ("bourne", "caster", "dale", "fleet", "garth", "holt", "mouth", "ness", "thorpe", "wick")
MODELS = ("chatgpt", "perplexity")


@dataclass(frozen=True)
class Crowd:
    """A loaded network; `world` is the file that a sandbox learns its orgs from."""

    network: Network
    world: Path

    @property
    def org_ids(self) -> list[UUID]:
        """The members by name."""
        return [member.org_id for member in self.network.members]


def load_crowd(stage: Stage, name: str, *, members: int, questions: int) -> Crowd:
    """Load a network with so many orgs and questions, asked of two models from the US: two answers per question."""
    path = stage.data_folder / f"{name}.yaml"
    path.write_text(json.dumps(_document(name, members, questions)))  # JSON is YAML
    with stage.database.transaction() as session:
        (network_id,) = load_file(session, path).network_ids
        return Crowd(load_network(session, network_id), path)


def _document(name: str, members: int, questions: int) -> dict[str, object]:
    names = [f"{first}{second}" for second, first in product(SECOND, FIRST)][:members]
    return {
        "partner": {"name": f"Partner of {name}", "balance": "100000"},
        "networks": [
            {
                "name": name,
                "models": list(MODELS),
                "locations": ["US"],
                "questions": [f"{name}: who repairs furnace number {number}?" for number in range(1, questions + 1)],
            }
        ],
        "orgs": [
            {"name": f"{org} {name}", "network": name, "websites": [f"https://{org.lower()}-{name}.example"]}
            for org in names
        ],
    }


def texts_of(sandbox_url: str, network: Network) -> list[str]:
    """Return what the sandbox's assistants answer to every question run of the network, without buying it."""
    with httpx.Client(base_url=sandbox_url, timeout=60) as http, ThreadPoolExecutor(4) as threads:

        def answer(question: str, model: str) -> str:
            query = {"question": question, "engine": model, "country": "US"}
            return str(http.get("/_truth/answer", params=query).raise_for_status().json()["text"])

        runs = expected_runs(network)
        return list(threads.map(answer, [run[0].text for run in runs], [run[1] for run in runs]))


def store_answers(session: Session, network: Network, run_date: date, texts: Sequence[str]) -> UUID:
    """Store a simulated batch of the network as if it had just been asked and answered; return its id."""
    batch_id = uuid4()
    session.execute(
        insert(Batch).values(
            batch_id=batch_id,
            scope="network",
            network_id=network.network_id,
            run_date=run_date,
            status="completed",
            sandbox=True,
        )
    )
    rows = [
        {
            "batch_id": batch_id,
            "question_id": question.question_id,
            "model": model,
            "country_code": location.country_code,
            "replicate": replicate,
            "status": "answered",
            "response_text": text,
        }
        for (question, model, location, replicate), text in zip(expected_runs(network), texts, strict=True)
    ]
    session.execute(insert(QuestionRunRow), rows)
    return batch_id
