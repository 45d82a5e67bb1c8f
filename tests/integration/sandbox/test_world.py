"""The world: what it answers, and that its truth is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.answers import WorldAnswer, WorldOrg
from sandbox.brand_names import find_brands
from sandbox.reader import Habits, Org, evaluate
from sandbox.server import RunningSandbox
from sandbox.world import BadWorld, World, example_orgs, orgs_from, read_world_file
from tests.support.vendor import NORTHWIND, Vendor

ORG = WorldOrg(NORTHWIND["name"], tuple(NORTHWIND["websites"]), tuple(NORTHWIND["questions"]))
ENGINES = ("chatgpt", "perplexity", "gemini", "openai")


@pytest.fixture(scope="module")
def answers() -> list[WorldAnswer]:
    world = World(7, [ORG])
    return [world.answer(question, engine, "US") for question in ORG.questions for engine in ENGINES]


def test_the_same_seed_gives_the_same_answers_in_any_order() -> None:
    one, two, other = World(7, [ORG]), World(7, [ORG]), World(8, [ORG])
    forward = [one.answer(question, "chatgpt", "US").text for question in ORG.questions]
    backward = [two.answer(question, "chatgpt", "US").text for question in reversed(ORG.questions)]

    assert forward == backward[::-1]
    assert forward != [other.answer(question, "chatgpt", "US").text for question in ORG.questions]


def test_engine_country_and_replicate_change_the_answer() -> None:
    world, question = World(7, [ORG]), ORG.questions[0]
    texts = {
        world.answer(question, engine, country, replicate=replicate).text
        for engine, country, replicate in [
            ("chatgpt", "US", ""),
            ("gemini", "US", ""),
            ("gemini", "CA", ""),
            ("gemini", "CA", "2"),
        ]
    }
    assert len(texts) == 4


def test_about_six_in_ten_answers_mention_the_org_with_all_sentiments(answers: list[WorldAnswer]) -> None:
    subjects = [answer.subjects[0] for answer in answers]
    assert 0.5 < sum(subject.mentioned for subject in subjects) / len(subjects) < 0.7
    assert {subject.sentiment for subject in subjects} == {"positive", "neutral", "negative", None}
    assert any(subject.absence_statement for subject in subjects)
    assert any(answer.look_alikes for answer in answers)


def test_passages_are_exact_parts_of_the_text_and_hold_the_name(answers: list[WorldAnswer]) -> None:
    for answer in answers:
        subject = answer.subjects[0]
        assert bool(subject.passages) == (subject.mentioned or subject.absence_statement)
        for passage in answer.truth()["passages"]:
            assert answer.text[passage["start"] : passage["end"]] == passage["text"]
            assert subject.name in passage["text"]


def test_every_brand_stands_where_the_truth_says_and_the_rank_counts_them(answers: list[WorldAnswer]) -> None:
    for answer in answers:
        names = [name for name, _ in answer.brands]
        assert 5 <= len(names) <= 12
        assert all(answer.text.startswith(name, offset) for name, offset in answer.brands)
        subject = answer.subjects[0]
        assert subject.rank == (names.index(subject.name) + 1 if subject.mentioned else None)


def test_answers_are_varied_in_form(answers: list[WorldAnswer]) -> None:
    texts = [answer.text for answer in answers]
    marks = ("| --- |", "### ", "\n   - ", "\r\n", "⭐", "**[", "](https://", "\\[", "1. **")
    assert [mark for mark in marks if not any(mark in text for text in texts)] == []
    assert any(
        not text.isascii() and any("぀" <= letter <= "ヿ" or "Ѐ" <= letter <= "ӿ" for letter in text) for text in texts
    )


def test_own_pages_and_pages_of_others_are_cited(answers: list[WorldAnswer]) -> None:
    sources = [source for answer in answers for source in answer.sources]
    assert {source.own for source in sources} == {True, False}
    assert all("northwindheating.example" in source.url for source in sources if source.own)
    assert {source.cited for source in sources if not source.own} == {True, False}


def test_the_reader_which_sees_only_the_text_agrees_with_the_truth(answers: list[WorldAnswer]) -> None:
    org = Org(ORG.name, (ORG.name, "Northwind"), ())
    hits = found = true = 0
    for answer in answers:
        blocks = [block for block in answer.text.splitlines() if block.strip()]
        verdict = evaluate(blocks, org, Habits())
        subject = answer.subjects[0]
        assert (verdict["is_mention_verified"] and not verdict["absence_statement"]) == subject.mentioned
        brands, truth = set(find_brands(blocks, org.names)), {name for name, _ in answer.brands}
        hits, found, true = hits + len(brands & truth), found + len(brands), true + len(truth)
    assert hits / found > 0.95
    assert hits / true > 0.95


def test_a_prompt_with_more_than_the_question_is_about_the_same_org() -> None:
    world = World(7, [ORG])
    for prompt in (f"{ORG.questions[3]} Answer for Toronto, Canada.", f"In Toronto: {ORG.questions[3]}"):
        assert world.orgs_of(prompt) == [ORG]
    assert world.orgs_of("Is Northwind Heating any good?") == [ORG]
    assert world.orgs_of("Who sells shoes?") == []


def test_orgs_are_found_anywhere_in_a_document_and_inherit_their_networks_questions() -> None:
    document = {
        "partners": [
            {
                "name": "P",
                "networks": [{"name": "N", "questions": [{"text": "Q1?"}], "orgs": [{"name": "A"}, {"name": "B"}]}],
            }
        ],
        "orgs": [{"name": "C", "websites": [{"url": "https://c.example"}], "questions": ["Q2?"]}],
    }
    found = {org.name: org for org in orgs_from(document)}
    assert found.keys() == {"A", "B", "C"}
    assert found["A"].questions == ("Q1?",)
    assert found["C"] == WorldOrg("C", ("https://c.example",), ("Q2?",))


def test_a_world_file_without_orgs_or_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    for text in ("a: [", "names: 3"):
        path = tmp_path / "world.yaml"
        path.write_text(text)
        with pytest.raises(BadWorld):
            read_world_file(path)
    with pytest.raises(BadWorld):
        read_world_file(tmp_path / "missing.yaml")


def test_the_truth_of_what_was_sold_is_found_by_the_echoed_id(sandbox: RunningSandbox, vendor: Vendor) -> None:
    records = vendor.buy("chatgpt", 4)
    (answer,) = vendor.http.get("/_truth/answers", params={"question_run_id": "chatgpt-2"}).json()["answers"]

    assert answer["text"] == records[2]["answer_text_markdown"]
    assert answer["org"] == "Northwind Heating"
    assert answer["usable"] is True
    assert len(vendor.http.get("/_truth/answers").json()["answers"]) == 4
    asked = vendor.http.get("/_truth/answer", params={"question": answer["prompt"]}).json()
    assert asked["text"] == answer["text"]


def test_the_world_learns_orgs_over_http(vendor: Vendor) -> None:
    body = {"orgs": [{"name": "Zendora", "websites": ["zendora.example"], "questions": ["Which CRM is best?"]}]}
    assert vendor.http.post("/_world", json=body).json()["learned"] == 1
    assert "Zendora" in {org["name"] for org in vendor.http.get("/_world").json()["orgs"]}
    assert vendor.http.get("/_truth/answer", params={"question": "Which CRM is best?"}).json()["org"] == "Zendora"
    assert vendor.http.post("/_world", json={"orgs": []}).status_code == 400


def test_the_shipped_examples_are_known_with_questions_and_websites() -> None:
    orgs = example_orgs()
    assert orgs
    assert all(org.websites and org.questions for org in orgs)
