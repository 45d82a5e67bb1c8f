"""Countries, routing, prompts."""

from __future__ import annotations

import pytest

from visibility.countries import country_name, normalise_country
from visibility.domain import Location
from visibility.errors import InvalidInput
from visibility.providers.prompt import prompt_for
from visibility.providers.routing import provider_of


@pytest.mark.parametrize(("given", "code"), [("us", "US"), ("UK", "GB"), ("uk ", "GB"), ("De", "DE")])
def test_country_codes_are_normalised(given: str, code: str) -> None:
    assert normalise_country(given) == code


@pytest.mark.parametrize("given", ["XX", "", "USA", "U", "Canada", "ZZ"])
def test_what_is_no_country_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput, match="country code"):
        normalise_country(given)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("CA", "Canada"),
        ("GB", "United Kingdom"),
        ("UK", "United Kingdom"),
        ("KR", "South Korea"),
        ("FM", "Federated States of Micronesia"),
        ("CD", "The Democratic Republic of the Congo"),
        ("BQ", "Bonaire, Sint Eustatius and Saba"),
        ("VA", "Holy See"),
    ],
)
def test_countries_have_the_name_that_stands_in_a_sentence(code: str, name: str) -> None:
    assert country_name(code) == name


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("chatgpt", "brightdata:chatgpt"),
        ("ChatGPT-5", "brightdata:chatgpt"),
        ("perplexity", "brightdata:perplexity"),
        ("Gemini", "brightdata:gemini"),
        ("linkup", "linkup"),
        ("claude-sonnet-5", "anthropic"),
        ("opus-5", "anthropic"),
        ("gpt-6-luna", "openai"),
        ("llama", None),
        ("", None),
    ],
)
def test_the_model_name_decides_the_provider(model: str, provider: str | None) -> None:
    assert provider_of(model) == provider


def test_a_country_alone_leaves_the_question_as_it_is() -> None:
    assert prompt_for("  Who repairs furnaces? ", Location("US")) == "  Who repairs furnaces? "


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (Location("CA", "Ontario", "Toronto"), "Toronto, Ontario, Canada"),
        (Location("CA", "Ontario"), "Ontario, Canada"),
        (Location("KR", None, "Seoul"), "Seoul, South Korea"),
    ],
)
def test_a_region_or_city_adds_one_sentence_behind_the_question(location: Location, place: str) -> None:
    assert prompt_for("Who?", location) == f"Who?\n\nAnswer for a person in {place}."
