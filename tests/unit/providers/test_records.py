"""Records: joined by echoed id, index, or prompt and country; read one by one."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from visibility.domain import Answer, Location, QuestionRun, RunFailure
from visibility.providers.brightdata.engines import JobInput, engines, inputs_of, unaskable
from visibility.providers.brightdata.records import read_records
from visibility.providers.brightdata.refusals import refused_inputs
from visibility.settings import BrightDataSettings

PRICE = Decimal("0.0015")
BATCH = uuid4()


def make_inputs(*prompts: str, countries: str = "US CA GB DE FR") -> tuple[JobInput, ...]:
    codes = countries.split()
    return inputs_of(
        QuestionRun(UUID(int=number), BATCH, prompt, "chatgpt", Location(codes[number % len(codes)]))
        for number, prompt in enumerate(prompts)
    )


INPUTS = make_inputs("one?", "two?", "three?")


def record(entry: JobInput, text: Any = "An answer.", **fields: Any) -> dict[str, Any]:
    return {
        "answer_text_markdown": text,
        "input": {"question_run_id": str(entry.run_id), "prompt": entry.prompt, "country": entry.country},
        **fields,
    }


def read(records: list[Any], inputs: tuple[JobInput, ...] = INPUTS, engine: str = "chatgpt") -> dict[UUID, Any]:
    results = read_records(f"brightdata:{engine}", inputs, records, PRICE)
    assert [result.question_run_id for result in results] == [entry.run_id for entry in inputs]
    return {result.question_run_id: result for result in results}


def texts(results: dict[UUID, Any]) -> list[str | None]:
    return [result.response_text if isinstance(result, Answer) else None for result in results.values()]


def test_records_are_joined_by_the_echoed_id_in_any_order() -> None:
    records = [record(entry, f"Answer to {entry.prompt}", index=1) for entry in INPUTS]
    random.Random(7).shuffle(records)
    assert texts(read(records)) == ["Answer to one?", "Answer to two?", "Answer to three?"]


@pytest.mark.parametrize("where", ["index", "input"])
def test_without_ids_the_index_counts(where: str) -> None:
    indexes: list[Any] = [3, "1", 2]
    records: list[dict[str, Any]] = [{"answer_text": f"Answer {index}", "prompt": "?"} for index in indexes]
    for one, index in zip(records, indexes, strict=True):
        one.update({"index": index} if where == "index" else {"input": {"index": index}})
    assert texts(read(records)) == ["Answer 1", "Answer 2", "Answer 3"]


@pytest.mark.parametrize("indexes", [[1, 1, 2], [1, 2, 4], [0, 1, 2], [1, None, 2], [1, True, 2], ["x", 1, 2]])
def test_an_index_that_cannot_be_trusted_is_not_used(indexes: list[Any]) -> None:
    records = [
        {"answer_text": f"To {entry.prompt}", "prompt": entry.prompt, "country": entry.country, "index": index}
        for entry, index in zip(reversed(INPUTS), indexes, strict=True)
    ]
    assert texts(read(records)) == ["To one?", "To two?", "To three?"]


def test_nothing_is_joined_by_position() -> None:
    results = read([{"answer_text": "whose?"}, {"answer_text": "and this?"}, {"answer_text": "?"}])
    assert {result.error_code for result in results.values()} == {"missing_record"}


def test_equal_prompts_in_other_countries_are_told_apart() -> None:
    inputs = make_inputs("same?", "same?")
    records = [{"answer_text": code, "prompt": "same?", "country": code} for code in ("CA", "US")]
    assert texts(read(records, inputs)) == ["US", "CA"]


def test_equal_questions_of_two_orgs_each_get_a_record() -> None:
    inputs = make_inputs("same?", "same?", countries="US")
    records = [{"answer_text": text, "prompt": "same?", "country": "US"} for text in ("first", "second", "third")]
    assert sorted(str(text) for text in texts(read(records, inputs))) == ["first", "second"]


def test_some_records_with_ids_and_some_without_are_all_joined() -> None:
    records = [record(INPUTS[2], "third"), {"answer_text": "first", "index": 1}, {"answer_text": "second", "index": 2}]
    assert texts(read(records)) == ["first", "second", "third"]


def test_of_duplicates_the_first_with_an_answer_counts() -> None:
    error = record(INPUTS[0], None, error="blocked", error_code="blocked")
    records = [error, record(INPUTS[0], "first"), record(INPUTS[0], "second")]
    assert texts(read(records))[0] == "first"


@pytest.mark.parametrize(
    "bad",
    [
        "a string",
        None,
        7,
        [],
        {},
        {"answer_text_markdown": ["no text"], "input": "gone"},
        {"answer_text": "foreign", "input": {"question_run_id": str(uuid4())}},
    ],
)
def test_one_bad_record_costs_one_run(bad: Any) -> None:
    results = read([bad, record(INPUTS[1]), record(INPUTS[2])])
    assert results[INPUTS[0].run_id].error_code == "missing_record"
    assert texts(results)[1:] == ["An answer.", "An answer."]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": 17}, "malformed_record"),
        ({"text": None}, "malformed_record"),
        ({"text": ""}, "empty_answer"),
        ({"text": " \n\x00"}, "empty_answer"),
        ({"text": "Give feedback\n"}, "empty_answer"),
        ({"error": "No peers available", "error_code": "no_peers"}, "no_peers"),
        ({"error": "Blocked", "error_code": "BLOCKED "}, "blocked"),
        ({"error": "Country CU is not available", "error_code": "bad_input"}, "unsupported_country"),
        ({"error": "The input is not valid", "error_code": "bad_input"}, "bad_input"),
        ({"error": "Something new", "error_code": "brand_new"}, "vendor_error"),
        ({"error": "Something without a code"}, "vendor_error"),
        ({"error": {"deep": "object"}}, "vendor_error"),
    ],
)
def test_what_is_no_answer_fails_with_a_code_and_costs_nothing(fields: dict[str, Any], code: str) -> None:
    failure = read([record(INPUTS[0], **fields)])[INPUTS[0].run_id]
    assert isinstance(failure, RunFailure)
    assert failure.error_code == code
    assert failure.error_message


def test_an_error_text_never_becomes_an_answer() -> None:
    results = read([record(INPUTS[0], "Error: blocked", error="blocked", error_code="blocked")])
    assert texts(results)[0] is None


def test_an_answer_keeps_everything_the_vendor_said() -> None:
    fields = {
        "model": "gpt-5",
        "country": "uk",
        "web_search_triggered": "true",
        "citations": [{"url": "https://a.example", "cited": "true", "new": 1}, "https://b.example", None],
        "search_sources": None,
        "links_attached": [{"url": "https://a.example", "text": "a", "position": 1}],
        "web_search_query": ["furnace \x00repair"],
        "unknown": 1,
    }
    answer = read([record(INPUTS[0], "Good [1].\x00 \ud800", **fields)])[INPUTS[0].run_id]
    assert isinstance(answer, Answer)
    assert answer.response_text == "Good [1](https://a.example). �"
    assert (answer.answered_by, answer.applied_country, answer.grounded, answer.cost_usd) == (
        "gpt-5",
        "GB",
        True,
        PRICE,
    )
    names = ("citations", "search_sources", "links_attached")
    assert answer.provider_sources == {**{name: fields[name] for name in names}, "web_search_query": ["furnace repair"]}


@pytest.mark.parametrize(
    ("engine", "fields", "grounded"),
    [
        ("chatgpt", {"web_search_triggered": True}, True),
        ("chatgpt", {"web_search_triggered": "False"}, False),
        ("chatgpt", {"web_search_triggered": 3}, None),
        ("chatgpt", {}, None),
        ("perplexity", {"sources": ["https://a.example"], "citations": None}, True),
        ("perplexity", {"citations": ["https://a.example"]}, True),
        ("perplexity", {"sources": []}, False),
        ("perplexity", {"citations": None}, None),
        ("gemini", {"citations": ["https://a.example"]}, None),
    ],
)
def test_grounded_is_known_or_unknown(engine: str, fields: dict[str, Any], grounded: bool | None) -> None:
    assert read([record(INPUTS[0], **fields)], engine=engine)[INPUTS[0].run_id].grounded is grounded


def test_gemini_may_name_its_text_either_way() -> None:
    plain = record(INPUTS[0], None, answer_text="Plain.")
    assert texts(read([plain], engine="gemini"))[0] == "Plain."


def test_inputs_that_cannot_be_asked_are_known_before_they_are_sent() -> None:
    inputs = make_inputs("fine?", "x" * 4097, "from Cuba?", "y" * 4096, countries="US CA CU")
    settings = BrightDataSettings()
    known = engines(settings)
    failures = unaskable(known["brightdata:chatgpt"], inputs, settings.unsupported_countries)
    assert [(one.question_run_id.int, one.error_code) for one in failures] == [
        (1, "bad_input"),
        (2, "unsupported_country"),
    ]
    assert len(unaskable(known["brightdata:gemini"], inputs, settings.unsupported_countries)) == 1


def test_the_index_of_an_input_follows_from_the_ids_alone() -> None:
    runs = [entry.run for entry in INPUTS]
    assert inputs_of(reversed(runs)) == INPUTS
    assert [entry.index for entry in INPUTS] == [1, 2, 3]


@pytest.mark.parametrize(
    ("problems", "failed"),
    [
        ([("country", "Country CA is not supported")], {1: "unsupported_country"}),
        ([("[2].prompt", "too long")], {2: "bad_input"}),
        ([("input.0.country", "not supported"), ("1.url", "bad")], {0: "unsupported_country", 1: "bad_input"}),
        ([("prompt", "three? is not a prompt")], {2: "bad_input"}),
        ([("prompt", "too long")], {}),
        ([("9.prompt", "too long")], {}),
        ([], {}),
    ],
)
def test_a_refusal_fails_only_the_inputs_it_names(problems: list[tuple[str, str]], failed: dict[int, str]) -> None:
    found = {one.question_run_id.int: one.error_code for one in refused_inputs(INPUTS, problems)}
    assert found == failed


def test_a_refusal_of_a_single_input_is_about_that_one() -> None:
    assert [one.error_code for one in refused_inputs(INPUTS[:1], [])] == ["bad_input"]
