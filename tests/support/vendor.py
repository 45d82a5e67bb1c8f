"""A plain client of the sandbox's Bright Data surface, with no opinion about what comes back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

DATASETS = {
    "chatgpt": "gd_m7aof0k82r803d5bjm",
    "perplexity": "gd_m7dhdot1vw9a7gc1n",
    "gemini": "gd_mbz66arm2mf9cu856y",
}
PAGES = {
    "chatgpt": "https://chatgpt.com/",
    "perplexity": "https://www.perplexity.ai",
    "gemini": "https://gemini.google.com/",
}
NORTHWIND = {
    "name": "Northwind Heating",
    "websites": ["https://www.northwindheating.example"],
    "questions": [f"Who does furnace repair in district {number}?" for number in range(40)],
}


def inputs(engine: str, count: int = 5, *, country: str = "US") -> list[dict[str, Any]]:
    """Return inputs as the product sends them: an index from 1 and an identifier to be echoed."""
    return [
        {
            "url": PAGES[engine],
            "prompt": NORTHWIND["questions"][number],
            "country": country,
            "index": number + 1,
            "question_run_id": f"{engine}-{number}",
        }
        for number in range(count)
    ]


@dataclass
class Vendor:
    """Calls of `/datasets/v3`."""

    http: httpx.Client

    def post(self, body: Any, engine: str = "chatgpt") -> httpx.Response:
        query = {"dataset_id": DATASETS[engine], "include_errors": "true"}
        return self.http.post("/datasets/v3/trigger", params=query, json=body)

    def trigger(self, engine: str = "chatgpt", count: int = 5) -> str:
        response = self.post(inputs(engine, count), engine)
        assert response.status_code == 200, response.text
        return str(response.json()["snapshot_id"])

    def status(self, snapshot_id: str) -> str:
        return str(self.http.get(f"/datasets/v3/progress/{snapshot_id}").json()["status"])

    def fetch(self, snapshot_id: str) -> httpx.Response:
        return self.http.get(f"/datasets/v3/snapshot/{snapshot_id}", params={"format": "json"})

    def buy(self, engine: str = "chatgpt", count: int = 5) -> list[Any]:
        """Return the records of a new job, waiting through every 202."""
        snapshot_id = self.trigger(engine, count)
        for _ in range(100):
            response = self.fetch(snapshot_id)
            if response.status_code == 200:
                return list(response.json())
            time.sleep(0.01)
        raise AssertionError(f"{snapshot_id} does not get ready")
