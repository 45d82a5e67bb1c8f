from __future__ import annotations

import pytest
from openai.lib._pydantic import to_strict_json_schema

from visibility.llm.prompts import load_prompt
from visibility.llm.replies import response_format, without_prose
from visibility.names import NameVariations
from visibility.reading import Reading

# A changed text needs a new version: evaluations of different prompts must never look alike.
DIGESTS = {("reading", 1): "c09011f4", ("names", 1): "16675271"}


@pytest.mark.parametrize("name", ["reading", "names"])
def test_a_prompt_whose_text_changes_gets_a_new_version(name: str) -> None:
    prompt = load_prompt(name)
    assert DIGESTS[(name, prompt.version)] == prompt.digest


@pytest.mark.parametrize("schema", [Reading, NameVariations])
def test_schemas_are_strict_as_they_stand(schema: type) -> None:
    assert response_format(schema)["json_schema"]["schema"] == without_prose(to_strict_json_schema(schema))


@pytest.mark.parametrize("name", ["reading", "names"])
def test_prompts_say_that_the_document_is_data(name: str) -> None:
    assert "data" in load_prompt(name).text
