"""From the vendor's text to the stored answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.providers.brightdata.answer_text import clean, clean_json, with_links, without_boilerplate

LINKS = [
    {"url": "https://a.example/", "text": "a", "position": 1},
    {"url": "https://b.example/x (1)", "text": "b", "position": "2"},
    {"url": "javascript:alert(1)", "position": 3},
]
A, B = "[1](https://a.example/)", "[2](https://b.example/x%20%281%29)"


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("Good [1].", f"Good {A}."),
        (r"Good \[1\].", f"Good {A}."),
        ("Good [1][2], [2]", f"Good {A}{B}, {B}"),
        ("Says [1]: yes", f"Says {A}: yes"),
        ("Unknown [7], script [3]", "Unknown [7], script [3]"),
        ("A link [1](https://c.example)", "A link [1](https://c.example)"),
        ("Nested [[1]](https://c.example)", "Nested [[1]](https://c.example)"),
        (r"Nested [\[1\]](https://c.example)", r"Nested [\[1\]](https://c.example)"),
        ("Reference [text][1]", "Reference [text][1]"),
        ("\n[1]: https://c.example", "\n[1]: https://c.example"),
        ("Image ![1]", "Image ![1]"),
        ("Code `a[1]` and\n```\nb[1]\n```\n[1]", f"Code `a[1]` and\n```\nb[1]\n```\n{A}"),
        ("[not a number] [1a]", "[not a number] [1a]"),
    ],
)
def test_markers_become_links_and_markdown_stays(text: str, linked: str) -> None:
    assert with_links(text, LINKS) == linked


def test_links_without_positions_count_in_their_order() -> None:
    assert with_links("[2]", [{"url": "https://a.example"}, "https://b.example"]) == "[2](https://b.example)"


@pytest.mark.parametrize("links", [None, 3, "x", {}, [3, None, {"url": 7}]])
def test_links_of_wrong_types_leave_the_text_alone(links: object) -> None:
    assert with_links("Good [1].", links) == "Good [1]."


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Give feedback\n\nThe answer", "The answer"),
        ("\n give feedback \r\nThe answer", "The answer"),
        ("ChatGPT said:\nGive feedback\nThe answer", "The answer"),
        ("Give feedback", ""),
        ("Give feedback to your installer", "Give feedback to your installer"),
        ("The answer\nGive feedback\n", "The answer\nGive feedback\n"),
        ("  indented\n", "  indented\n"),
    ],
)
def test_the_pages_own_words_go_only_at_the_start(text: str, rest: str) -> None:
    assert without_boilerplate(text) == rest


@given(
    st.text(alphabet=st.characters(), max_size=50) | st.text(alphabet="a\x00\ud800\udc00\ud83d\ude00[1]", max_size=9)
)
def test_cleaned_text_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned


def test_surrogates_that_are_a_pair_become_their_character() -> None:
    assert clean("\ud83d\ude00 \ud83d") == "😀 �"


def test_vendor_json_is_cleaned_at_every_depth() -> None:
    value = json.loads('{"a\\u0000": [NaN, 1e999, {"b": "\\ud800x"}, 1, true, null]}')
    assert clean_json(value) == {"a": [None, None, {"b": "�x"}, 1, True, None]}
