"""Claims about the blocks into which an answer is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.markdown_blocks import split_blocks

LINES = st.lists(
    st.sampled_from(
        ["**Acme**", "[Acme](https://a.ca)", "**Pros:**", "# Title", "## Part", "---", "===", "- item", "  - nested",
         "1. one", "1. **Acme**", "text one. Text two!", "| a | b |", "|---|---|", "a | b",
         "> quote", "```", "```markdown",
         "    deep", "", "", "<div>", "[x]: https://y.z", "• point", "\\n", "日本。東京", "\t", "\r", "\x00", "\u2028x"]
    ),
    max_size=25,
)  # fmt: skip


def blocks(text: str) -> list[tuple[str, str]]:
    return [(block.kind, text[block.start : block.end]) for block in split_blocks(text)]


def test_a_paragraph_is_cut_into_sentences() -> None:
    text = "We like St. John's Ltd. It costs 4.5, e.g. at U.S. Bank. [1][2] Is it? Yes! ([n.ca](https://n.ca/a)) So."
    assert [block for _, block in blocks(text)] == [
        "We like St. John's Ltd.",
        "It costs 4.5, e.g. at U.S. Bank. [1][2]",
        "Is it?",
        "Yes! ([n.ca](https://n.ca/a))",
        "So.",
    ]


def test_sentences_need_no_spaces_in_chinese_and_japanese() -> None:
    assert [block for _, block in blocks("便宜。北风很好！对吗？")] == ["便宜。", "北风很好！", "对吗？"]


def test_a_list_item_holds_its_continuation_and_nested_items() -> None:
    text = "1. one\n   more\n\n   - deep\n2. two\n\nEnd."
    assert blocks(text) == [
        ("list_item", "1. one\n   more\n\n   - deep"),
        ("list_item", "2. two"),
        ("sentence", "End."),
    ]


def test_a_table_gives_one_block_a_row() -> None:
    text = "Rates:\n| a | b |\n|:--|--:|\n| 1 | 2 |\nEnd."
    assert blocks(text) == [
        ("sentence", "Rates:"),
        ("table_row", "| a | b |"),
        ("table_row", "| 1 | 2 |"),
        ("sentence", "End."),
    ]


def test_numbered_bold_lines_with_text_below_are_cards() -> None:
    text = "1. **Acme**\n\nCheap. Slow.\n\n2. **Zed** ⭐ 4.8 (120 reviews)\n\nFast."
    assert [kind for kind, _ in blocks(text)] == ["card", "card"]
    assert [kind for kind, _ in blocks(text.replace("**\n", "** – for homes\n"))] == ["card", "card"]


def test_labels_inside_a_card_begin_no_card() -> None:
    text = "**Acme**\n**Pros:**\ncheap\n**Cons:**\nslow\n\n**Zed**\nfast"
    assert blocks(text) == [
        ("card", "**Acme**\n**Pros:**\ncheap\n**Cons:**\nslow"),
        ("card", "**Zed**\nfast"),
    ]


def test_the_closing_words_do_not_belong_to_the_last_of_several_tight_cards() -> None:
    text = "**Acme**\nCheap.\n\n**Zed**\nFast.\n\nShall I compare them?"
    assert blocks(text)[1:] == [("card", "**Zed**\nFast."), ("sentence", "Shall I compare them?")]


def test_a_rule_right_under_a_paragraph_makes_it_no_heading() -> None:
    assert blocks("Acme is cheap.\nZed is fast.\n---\nEnd.")[0] == ("sentence", "Acme is cheap.")


def test_literal_line_ends_are_line_ends_when_there_are_no_others() -> None:
    assert blocks(r"Best:\n\n- Acme\n- Zed") == [("sentence", "Best:"), ("list_item", "- Acme"), ("list_item", "- Zed")]


def test_windows_line_ends_keep_the_offsets() -> None:
    text = "# A\r\n\r\n- one\r\n- two\r\n"
    assert blocks(text) == [("heading", "# A"), ("list_item", "- one"), ("list_item", "- two")]


def test_an_answer_wrapped_in_a_fence_is_read_by_lines() -> None:
    assert blocks("```markdown\nAcme is cheap.\nZed.\n```") == [("line", "Acme is cheap."), ("line", "Zed.")]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "---"])
def test_nothing_to_read_gives_no_block(text: str) -> None:
    assert split_blocks(text) == []


@given(st.one_of(LINES.map("\n".join), st.text(max_size=200)))
def test_blocks_are_numbered_disjoint_and_hold_every_letter(text: str) -> None:
    found = split_blocks(text)
    assert [block.number for block in found] == list(range(1, len(found) + 1))
    assert all(left.end <= right.start for left, right in pairwise(found))
    assert all(0 <= block.start < block.end <= block.section_end <= len(text) for block in found)
    inside = {index for block in found for index in range(block.start, block.end)}
    if not any(
        mark in text for mark in ("```", "~~~", "\\n")
    ):  # a fence's language and the n of a line end are no prose
        assert all(index in inside or not text[index].isalnum() for index in range(len(text)))
