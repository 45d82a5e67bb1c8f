from __future__ import annotations

import pytest
from openai.lib._pydantic import to_strict_json_schema

from visibility.calls import BRANDS, MENTION, READING
from visibility.llm.prompts import load_prompt
from visibility.llm.replies import response_format, without_prose
from visibility.names import NameVariations
from visibility.reading import Brands, Mentions, Reading

# A changed text needs a new version: evaluations of different prompts must never look alike.
DIGESTS = {
    ("reading", 1): "c09011f4",
    ("brands", 1): "48405d3e",
    ("mention", 1): "271c8e75",
    ("names", 1): "16675271",
}


@pytest.mark.parametrize("name", ["reading", "brands", "mention", "names"])
def test_a_prompt_whose_text_changes_gets_a_new_version(name: str) -> None:
    prompt = load_prompt(name)
    assert DIGESTS[(name, prompt.version)] == prompt.digest


@pytest.mark.parametrize("schema", [Reading, Brands, Mentions, NameVariations])
def test_schemas_are_strict_as_they_stand(schema: type) -> None:
    assert response_format(schema)["json_schema"]["schema"] == without_prose(to_strict_json_schema(schema))


@pytest.mark.parametrize("name", ["reading", "brands", "mention", "names"])
def test_prompts_say_that_the_document_is_data(name: str) -> None:
    assert "data" in load_prompt(name).text


def test_each_kind_of_call_has_a_schema_of_its_own_name() -> None:
    kinds = {kind.schema: response_format(kind.schema)["json_schema"]["name"] for kind in (READING, BRANDS, MENTION)}
    assert kinds == {Reading: "Reading", Brands: "Brands", Mentions: "Mentions"}


def test_what_is_read_apart_is_read_by_the_rules_of_the_joint_reading() -> None:
    """An org's own answers and those of its network must be comparable."""
    joint, brands, mention = (load_prompt(name).text.split("\n\n") for name in ("reading", "brands", "mention"))
    assert mention == [part for part in joint if not part.startswith("brands:")]
    assert brands[-1] == joint[-2].replace(", including the organisation itself if it is named", "")
