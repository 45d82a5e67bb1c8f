"""Records of a finished job, in the shape that each engine's dataset has."""

from __future__ import annotations

import html
import random
from datetime import UTC, datetime
from typing import Any

from sandbox.answers import Source, WorldAnswer
from sandbox.jobs import Job, Slot
from sandbox.world import World

ERROR_TEXTS = {
    "dead_page": "The page is dead or was not found.",
    "bad_input": "The input is not valid for this collector.",
    "blocked": "The target site blocked the request.",
    "crawl_error": "Crawler error: the page could not be loaded.",
    "parse_error": "Parser error: the page could not be parsed.",
    "no_peers": "No peers available for the requested location.",
}


def answer_of(world: World, job: Job, slot: Slot) -> WorldAnswer:
    """Return the world's answer that a slot sells; the same input is always answered alike."""
    entry = slot.input
    country, replicate = str(entry.get("country") or ""), str(entry.get("replicate") or "")
    return world.answer(str(entry["prompt"]), job.engine, country, replicate=replicate, faults=slot.text_faults)


def records_of(world: World, seed: int, job: Job) -> list[Any]:
    """Return the job's array as it is delivered; fetching twice gives the same array."""
    rng = random.Random(f"{seed}|records|{job.ordinal}")
    records: list[Any] = []
    for slot in job.slots:
        if slot.delivered:
            record = _record(rng, world, job, slot)
            records += [_mistyped(rng, record) if slot.wrong_types else record] * slot.delivered
    if "out_of_range_records" in job.faults and records:
        _push_out_of_range(records, len(job.slots))
    return records


def _record(rng: random.Random, world: World, job: Job, slot: Slot) -> dict[str, Any]:
    entry = {**slot.input}
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if slot.error_code:
        error = ERROR_TEXTS[slot.error_code]
        return {"timestamp": moment, "input": entry, "error": error, "error_code": slot.error_code}
    answer = answer_of(world, job, slot)
    text = rng.choice(("", "  \n")) if slot.empty else answer.text
    record = {"url": entry["url"], "prompt": entry["prompt"], "country": entry.get("country"), "timestamp": moment}
    record |= {"index": entry["index"]} if "index" in entry else {}
    shape = {"chatgpt": _chatgpt, "perplexity": _perplexity, "gemini": _gemini}[job.engine]
    return {**record, **shape(rng, answer, text), "input": entry}


def _chatgpt(rng: random.Random, answer: WorldAnswer, text: str) -> dict[str, Any]:
    searched: Any = rng.choice((True, True, "true"))
    return {
        "answer_text": _plain(text),
        "answer_text_markdown": text,
        "answer_html": None,
        "model": "gpt-5-sandbox",
        "web_search_triggered": searched,
        "web_search_query": answer.queries,
        "citations": _citations(rng, answer.sources),
        "search_sources": [{"url": s.url, "title": s.title, "rank": s.position} for s in answer.sources],
        "links_attached": [{"url": s.url, "text": s.domain, "position": s.position} for s in answer.sources if s.cited],
    }


def _perplexity(rng: random.Random, answer: WorldAnswer, text: str) -> dict[str, Any]:
    listed = [_entry(source, "url", "title", "domain", "position") for source in answer.sources]
    field = rng.choice(("citations", "sources", "both"))
    return {
        "answer_text_markdown": text,
        "answer_html": f"<div>{html.escape(text)}</div>",
        "suggested_followup": ["Which one is open on Sundays?"],
        "web_search_query": answer.queries,
        **({"citations": listed} if field != "sources" else {"citations": None}),
        **({"sources": listed} if field != "citations" else {}),
    }


def _gemini(rng: random.Random, answer: WorldAnswer, text: str) -> dict[str, Any]:
    cited = [source for source in answer.sources if source.cited]
    return {
        rng.choice(("answer_text", "answer_text_markdown", "answer_text_markdown")): text,
        "model": "gemini-sandbox",
        "links_attached": [{"url": s.url, "text": s.title, "position": s.position} for s in cited],
        "citations": rng.choice(([_entry(s, "url", "title", "domain") for s in cited], None)),
    }


def _citations(rng: random.Random, sources: list[Source]) -> list[Any] | None:
    """Return ChatGPT's citations: objects with `cited`, objects without it, addresses alone, or nothing."""
    form = rng.choices(("full", "unknown", "addresses", "none"), (60, 15, 15, 10))[0]
    if form == "none":
        return None
    if form == "addresses":
        return [source.url for source in sources if source.cited]
    entries = [_entry(source, "url", "title", "domain", "position") for source in sources]
    if form == "full":
        for entry, source in zip(entries, sources, strict=True):
            entry["cited"] = source.cited if rng.random() < 0.8 else str(source.cited).lower()
    return entries


def _entry(source: Source, *names: str) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names}


def _plain(text: str) -> str:
    return text.replace("**", "").replace("### ", "").replace("## ", "")


def _mistyped(rng: random.Random, record: dict[str, Any]) -> Any:
    """Return the record with fields of wrong types, or something that is not a record at all."""
    wrong: list[Any] = [
        {**record, "answer_text": {"text": 1}, "answer_text_markdown": ["not", "a", "text"]},
        {**record, "answer_text": 17, "answer_text_markdown": 17, "citations": {"url": 5}, "links_attached": 3},
        "a record that is only a string",
        {
            **record,
            "input": "gone",
            "index": "first",
            "prompt": None,
            "answer_text_markdown": None,
            "answer_text": None,
        },
    ]
    return rng.choice(wrong)


def _push_out_of_range(records: list[Any], inputs: int) -> None:
    """Give the first record an impossible index, and add a record that nobody asked for."""
    first = records[0]
    if isinstance(first, dict):
        records[0] = {**first, "index": inputs + 7}
    stray = {"url": "https://example.invalid/", "prompt": "A question that nobody asked", "country": "US", "index": 0}
    records.append({**stray, "answer_text_markdown": "A stray answer about Alderbrook.", "input": {**stray}})
