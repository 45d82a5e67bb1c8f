"""Claims about folded text and the way back to the unaltered one, and about texts made to be slow."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.citations import find_citations
from visibility.folding import fold
from visibility.markdown_blocks import split_blocks
from visibility.mentions import find_passages

SIZE = 100_000


@given(st.text(st.one_of(st.characters(), st.sampled_from("e\u0301ﬁßİ™²\u00ad 가\u1100\u1161ﾊﾞ")), max_size=60))
def test_every_folded_stretch_has_its_place_in_the_unaltered_text(text: str) -> None:
    folded = fold(text)
    places = [folded.original(index, index + 1) for index in range(len(folded.text))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)


@given(st.text(st.sampled_from("aBcDé ,ñ日가"), max_size=60))
def test_plain_text_folds_character_by_character(text: str) -> None:
    assert fold(text).text == unicodedata.normalize("NFKC", text).casefold()
    assert fold(text, keep_case=True).text == text


@pytest.mark.timeout(20)  # quadratic work on any of these would take minutes
@pytest.mark.parametrize(
    "unit",
    ["a", " ", "[", "](", "[a](", "**a** ", "! ", ". ", ".[", "|", ">", "- ", "<a", "a@", "a.b/", "https://a)", "[1,",
     "https://a.b,", "e\u0301\u0323", "northwind ", "northwind heating\n", "**a**\n", "- a\n",
     "|a|b\n|-|-\n", "\\n", "\x00",
     "# a\n", "[a]: https://x\n", "\\a", "=", "北",
     "\ud800", "**a** (b", "`", "_"],
)  # fmt: skip
def test_a_long_text_of_one_kind_is_read_in_linear_time(unit: str) -> None:
    for text in (unit * (SIZE // len(unit)), "[" + unit * (SIZE // len(unit)), "**a** " + unit * (SIZE // len(unit))):
        assert len(split_blocks(text)) <= len(text)
        assert len(find_passages(text, ["Northwind Heating", "Northwind"])) <= len(text)
        assert len(find_citations(text, ["a.b"], {"citations": ["https://c.com"]})) <= len(text)
