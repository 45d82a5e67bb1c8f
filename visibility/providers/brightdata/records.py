"""Records of a finished job: joined to the inputs that asked for them, read one by one, leniently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from visibility.countries import normalise_country
from visibility.domain import Answer, RunFailure
from visibility.errors import InvalidInput
from visibility.providers.brightdata.answer_text import clean, clean_json, with_links, without_boilerplate
from visibility.providers.brightdata.engines import JobInput

Record = dict[str, Any]
Result = Answer | RunFailure

SOURCE_FIELDS = ("citations", "search_sources", "links_attached", "sources", "web_search_query")
ERROR_CODES = frozenset(
    {"dead_page", "bad_input", "blocked", "crawl_error", "parse_error", "no_peers", "content_refused"}
)
LONGEST_MESSAGE = 300
PORTION = 250  # results that are in memory at a time, beside the vendor's records


def read_records(provider: str, inputs: Sequence[JobInput], records: Sequence[Any], price_usd: Decimal) -> list[Result]:
    """Return exactly one result per input; an input without a record fails with `missing_record`.

    Of several records for one input the first with an answer counts. Records nobody asked for are ignored.
    """
    return [result for portion in read_portions(provider, inputs, records, price_usd) for result in portion]


def read_portions(
    provider: str, inputs: Sequence[JobInput], records: Sequence[Any], price_usd: Decimal
) -> Iterator[list[Result]]:
    """Yield the results of `read_records` in portions, each read when it is asked for."""
    joined = join(inputs, [record for record in records if isinstance(record, dict)])
    for start in range(0, len(inputs), PORTION):
        portion = inputs[start : start + PORTION]
        yield [_best(provider, entry.run_id, joined.get(entry.run_id, ()), price_usd) for entry in portion]


def echoed_ids(records: Iterable[Any]) -> set[UUID]:
    """Return the question run ids that records echo."""
    found = (_echoed_id(record) for record in records if isinstance(record, dict))
    return {run_id for run_id in found if run_id is not None}


def join(inputs: Sequence[JobInput], records: Sequence[Record]) -> dict[UUID, list[Record]]:
    """Return the records of each input: by echoed id, else by index, else by exact prompt and country.

    Never by position in the array. The index counts only when every record without an id has one,
    no two are equal, and all belong to inputs that are still open.
    """
    joined: dict[UUID, list[Record]] = {}
    anonymous = []
    known = {entry.run_id for entry in inputs}
    for record in records:
        run_id = _echoed_id(record)
        if run_id is None:
            anonymous.append(record)
        elif run_id in known:
            joined.setdefault(run_id, []).append(record)
    if anonymous:
        still_open = [entry for entry in inputs if entry.run_id not in joined]
        rest = _by_index(still_open, anonymous) or _by_prompt(still_open, anonymous)
        joined |= {run_id: [record] for run_id, record in rest.items()}
    return joined


def _by_index(inputs: Sequence[JobInput], records: Sequence[Record]) -> dict[UUID, Record]:
    by_index = {entry.index: entry.run_id for entry in inputs}
    indexes = [_index(record) for record in records]
    if len(set(indexes)) < len(indexes) or not by_index.keys() >= set(indexes):
        return {}
    return {by_index[index]: record for index, record in zip(indexes, records, strict=True) if index is not None}


def _by_prompt(inputs: Sequence[JobInput], records: Sequence[Record]) -> dict[UUID, Record]:
    """Inputs with the same prompt and country (of two orgs) are interchangeable: each takes one record."""
    waiting: dict[tuple[str, str], list[UUID]] = {}
    for entry in inputs:
        waiting.setdefault((entry.prompt, entry.country), []).append(entry.run_id)
    joined = {}
    for record in records:
        asked = waiting.get((str(_echo(record, "prompt")), str(_echo(record, "country"))))
        if asked:
            joined[asked.pop(0)] = record
    return joined


def _echo(record: Record, name: str) -> Any:
    """Return an input field as the record repeats it, in `input` or beside it."""
    sent = record.get("input")
    if isinstance(sent, Mapping) and sent.get(name) is not None:
        return sent[name]
    return record.get(name)


def _echoed_id(record: Record) -> UUID | None:
    try:
        return UUID(str(_echo(record, "question_run_id")))
    except ValueError:
        return None


def _index(record: Record) -> int | None:
    index = record.get("index") if record.get("index") is not None else _echo(record, "index")
    try:
        return None if isinstance(index, bool) else int(index)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _best(provider: str, run_id: UUID, records: Sequence[Record], price_usd: Decimal) -> Result:
    failure: RunFailure | None = None
    for record in records:
        result = _read(provider, run_id, record, price_usd)
        if isinstance(result, Answer):
            return result
        failure = failure or result
    return failure or RunFailure(run_id, "missing_record", "The vendor's job returned no record for this question.")


def _read(provider: str, run_id: UUID, record: Record, price_usd: Decimal) -> Result:
    if record.get("error") or record.get("error_code"):
        return _error(run_id, record)
    text = _text(record)
    if text is None:
        return RunFailure(run_id, "malformed_record", "The vendor's record holds no answer text that can be read.")
    text = without_boilerplate(with_links(clean(text), record.get("links_attached")))
    if not text.strip():
        return RunFailure(run_id, "empty_answer", "The vendor returned an empty answer.")
    sources = {name: clean_json(record[name]) for name in SOURCE_FIELDS if name in record}
    model = record.get("model")
    return Answer(
        run_id,
        text,
        price_usd,
        answered_by=clean(model) if isinstance(model, str) else None,
        grounded=_grounded(provider, record),
        provider_sources=sources or None,
        applied_country=_applied_country(record),
    )


def _error(run_id: UUID, record: Record) -> RunFailure:
    code = str(record.get("error_code") or "").strip().lower()
    message = clean(str(record.get("error") or code))[:LONGEST_MESSAGE]
    if code == "bad_input" and "country" in message.lower():
        code = "unsupported_country"
    elif code not in ERROR_CODES:
        code = "vendor_error"
    return RunFailure(run_id, code, message)


def _text(record: Record) -> str | None:
    """Return the first field that holds text; "" when the only ones are blank, None when there is none."""
    values = [record.get(name) for name in ("answer_text_markdown", "answer_text")]
    texts = [value for value in values if isinstance(value, str)]
    return next((text for text in texts if text.strip()), texts[0] if texts else None)


def _grounded(provider: str, record: Record) -> bool | None:
    """Tell whether the engine searched; None where the vendor does not say."""
    if provider == "brightdata:perplexity":
        lists = [record[name] for name in ("sources", "citations") if isinstance(record.get(name), list)]
        return any(lists) if lists else None
    searched = record.get("web_search_triggered")
    if isinstance(searched, str):
        return {"true": True, "false": False}.get(searched.strip().lower())
    return searched if isinstance(searched, bool) else None


def _applied_country(record: Record) -> str | None:
    """Return the country that the record itself names; `input` only repeats what was asked for."""
    country = record.get("country")
    if not isinstance(country, str) or not country.strip():
        return None
    try:
        return normalise_country(country)
    except InvalidInput:
        return clean(country.strip())[:64]
