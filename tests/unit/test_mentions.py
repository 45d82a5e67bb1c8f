"""Claims about where names are found, which passages speak about an org, and share of voice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.mentions import Span, find_names, find_passages, share_of_voice

MARKDOWN = st.text(
    st.sampled_from("Sun Life-\n\r\t*_[](){}#>|.!?:/@&;\\`~1é\u0301™ß日タ은ั\x00\ud800'’ \u00ad"), max_size=200
)
NAMES = st.lists(st.text(st.sampled_from("SunLife &.-'é日ßタ!"), max_size=12), max_size=5)


def found(text: str, *names: str) -> list[str]:
    return [text[span.start : span.end] for span in find_names(text, names)]


def passages(text: str, *names: str) -> list[str]:
    return [text[span.start : span.end] for span in find_passages(text, names)]


@pytest.mark.parametrize(
    "written",
    ["Sun Life", "sun life", "SUN LIFE", "Sun  Life", "Sun-Life", "Sun\nLife", "Sun\r\nLife", "Sun\u00a0Life",
     "Sun‑Life", "Sun/Life", "Sun_Life", "Sun** **Life", "Sun&nbsp;Life", "Ｓｕｎ　Ｌｉｆｅ", "Sun\u200bLife",
     "Sun\\-Life"],
)  # fmt: skip
def test_spaces_and_punctuation_between_the_words_do_not_matter(written: str) -> None:
    for name in ("Sun Life", "Sun-Life", "sun  life"):
        assert found(f"I trust {written}'s plans.", name) == [written]


@pytest.mark.parametrize(
    "text",
    ["Sun Lifestyle", "Sunlit life", "the sun. Life is good", "Sun\n\nLife", "- Sun\n- Life", "Sun Life2", "aSun Life",
     "[it](https://a.com/sun-life)", "[it](/sun-life 'Sun Life')", "https://a.com/sun-life", "www.sun-life.com/x",
     "write to info@sun-life.com", "sun-life@a.com", "<https://a.com/Sun-Life>", "facebook.com/sun-life",
     "[it]: https://a.com/sun-life", "![](pics/sun-life.png)", "<a href='/x' title='Sun Life'>it</a>", "Sun Lifé"],
)  # fmt: skip
def test_no_hit_in_other_words_other_paragraphs_or_addresses(text: str) -> None:
    assert found(text, "Sun Life") == []


def test_link_labels_count_and_their_targets_do_not() -> None:
    assert found("[Sun Life](https://sun-life.ca/sun-life) and [**Sun Life**][1]", "Sun Life") == ["Sun Life"] * 2


@pytest.mark.parametrize(
    ("name", "text", "hits"),
    [
        ("Target", "Target's target audience is a TARGET", ["Target"]),
        ("Apple", "an apple from Apple", ["Apple"]),
        ("BP", "BP, bp and BPs", ["BP"]),
        ("3M", "3M or 3m, not 13M", ["3M"]),
        ("Credit Union", "a credit union called Credit Union", ["Credit Union"]),
        ("Nike", "nike and NIKE", ["nike", "NIKE"]),
    ],
)
def test_short_names_and_ordinary_words_match_case_sensitively_only(name: str, text: str, hits: list[str]) -> None:
    assert found(text, name) == hits


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AT&T", "AT&T"), ("AT&T", "AT&amp;T"), ("AT&T", "AT & T"), ("Ben & Jerry's", "Ben and Jerry’s"),
        ("Barnes and Noble", "Barnes & Noble"), ("McDonald's", "McDonald’s"), ("McDonald's", "McDonalds"),
        ("Sams Club", "Sam's Club"), ("U.S. Bank", "US Bank"), ("St Mary Clinic", "St. Mary Clinic"),
        ("Acme Inc", "Acme, Inc"), ("Acme, Inc.", "Acme Inc"), ("Yahoo!", "Yahoo"), ("Booking.com", "Booking.com"),
        ("Chick-fil-A", "Chick fil A"), ("Nestlé", "Nestle\u0301"), ("Straße", "STRASSE"),
        ("İstanbul Bank", "İstanbul Bank"),
        ("E*TRADE", "E*TRADE"), ("C++", "C++"), ("7-Eleven", "7‑Eleven"),
    ],
)  # fmt: skip
def test_spellings_of_one_name_are_found(name: str, text: str) -> None:
    assert found(f"Is {text} good?", name) == [text]


@pytest.mark.parametrize(
    ("name", "text", "hits"),
    [
        ("三井住友", "私は三井住友銀行を使う。", ["三井住友"]),
        ("イオン", "ライオンはイオンで買う", ["イオン"]),
        ("みずほ", "私はみずほが好き", ["みずほ"]),
        ("삼성", "삼성은 좋다. 삼성전자도", ["삼성"]),
        ("กรุงไทย", "ธนาคารกรุงไทยดีมาก", ["กรุงไทย"]),
        ("राम", "रामा और राम", ["राम"]),
        ("Nike", "我买了Nike鞋，아디다스와 Nike는", ["Nike", "Nike"]),
        ("Сбер", "Сбербанк и СБЕР", ["СБЕР"]),
        ("بنك مصر", "يعد بنك مصر من", ["بنك مصر"]),
    ],
)
def test_other_scripts_have_words_too(name: str, text: str, hits: list[str]) -> None:
    assert found(text, name) == hits


def test_offsets_point_into_the_unaltered_text() -> None:
    text = "ﬁne… ½ cafe\u0301 ™ \u00adNorth\u00adwind™ ﷺ Northwind¹ ①Northwind"
    assert found(text, "northwind") == ["North\u00adwind", "Northwind", "Northwind"]


def test_of_overlapping_names_the_longest_counts() -> None:
    text = "New York Life Insurance Company and New York Life"
    assert found(text, "New York", "New York Life", "York Life Insurance Company") == [
        "York Life Insurance Company",
        "New York Life",
    ]


def test_a_longer_name_that_fails_does_not_hide_a_shorter_one() -> None:
    assert found("Sunoco Lifestyle, banana ana", "Sunoco Life", "Sunoco", "ana") == ["Sunoco", "ana"]


@pytest.mark.parametrize("names", [[], [""], ["  ", "!!"], (), iter(()), {"x": 1}.keys(), [None]])
def test_no_usable_name_finds_nothing(names: object) -> None:
    assert find_names("Sun Life", names) == []  # type: ignore[arg-type]


def test_names_may_be_any_iterable() -> None:
    for names in (["Sun Life"], ("Sun Life",), {"Sun Life"}, iter(["Sun Life"]), "Sun Life"):
        assert find_names("Sun Life", names) == [Span(0, 8)]


def test_literal_line_ends_of_vendors_are_word_edges() -> None:
    assert found(r"Options:\nNorthwind\nAcme", "Northwind") == ["Northwind"]


def test_a_sentence_with_the_name_is_a_passage_and_its_neighbours_are_not() -> None:
    text = "Acme is cheap. Northwind Inc. is fast, says Dr. Jones. [1] Others are slow."
    assert passages(text, "Northwind") == ["Northwind Inc. is fast, says Dr. Jones. [1]"]


def test_a_list_item_is_a_passage_with_all_under_it() -> None:
    text = "Best:\n\n- Acme\n- **Northwind**\n  open\n  day and night\n  - 4.8 stars\n- Zed\n"
    assert passages(text, "Northwind") == ["- **Northwind**\n  open\n  day and night\n  - 4.8 stars"]


def test_a_table_row_is_a_passage() -> None:
    text = "Rates:\n| Bank | Rate |\n|---|---|\n| Acme | 3 |\n| Northwind | 4 |\n\nEnd."
    assert passages(text, "Northwind") == ["| Northwind | 4 |"]


@pytest.mark.parametrize("head", ["**Northwind**", "[Northwind](https://n.ca)", "**[Northwind](https://n.ca)** (4.8)"])
def test_a_card_is_a_passage_whole(head: str) -> None:
    text = f"Here:\n\n**Acme**\nCheap.\n\n{head}\nOpen day and night.\n4.8 stars.\n\n**Zed**\nSlow.\n"
    assert passages(text, "Northwind") == [f"{head}\nOpen day and night.\n4.8 stars."]


def test_a_name_in_any_line_of_a_card_takes_the_card() -> None:
    text = "**24/7 repair**\nNorthwind, 4.8 stars\nToronto\n\n**Plumbing**\nAcme\nToronto"
    assert passages(text, "Northwind") == ["**24/7 repair**\nNorthwind, 4.8 stars\nToronto"]


def test_a_heading_with_the_name_takes_its_section_with_subsections() -> None:
    text = "## Acme\nCheap.\n\n## Northwind\nFast. Open.\n\n### Price\n99\n\n## Zed\nSlow."
    assert passages(text, "Northwind") == ["## Northwind\nFast. Open.\n\n### Price\n99"]


def test_a_title_over_the_sections_of_others_takes_only_what_is_directly_under_it() -> None:
    text = "# Rivals of Northwind\nThere are two.\n\n## Acme\nCheap.\n\n## Zed\nSlow."
    assert passages(text, "Northwind") == ["# Rivals of Northwind\nThere are two."]


def test_a_bold_line_over_a_list_of_brands_is_no_card() -> None:
    text = "**Top picks**\n- **Acme** cheap\n- **Northwind** fast\n- **Zed** slow\n"
    assert passages(text, "Northwind") == ["- **Northwind** fast"]


def test_items_of_a_list_under_a_bold_line_stand_for_themselves() -> None:
    text = "**Tips**\n\n- Ask Acme.\n- Ask Northwind.\n\nShall I compare them?"
    assert passages(text, "Northwind") == ["- Ask Northwind."]


def test_share_of_voice_counts_overlaps_once_and_stays_in_the_text() -> None:
    assert share_of_voice([Span(0, 5), Span(3, 6)], "0123456789") == 0.6
    assert share_of_voice([(-5, 2), (8, 99), (4, 3)], "0123456789") == 0.4
    assert share_of_voice([Span(0, 99)], "日本") == 1.0
    assert share_of_voice([Span(0, 1)], "") == share_of_voice([], "text") == 0.0


@given(MARKDOWN, NAMES)
def test_hits_and_passages_are_sorted_disjoint_and_inside_the_text(text: str, names: list[str]) -> None:
    hits, spans = find_names(text, names), find_passages(text, names)
    for some in (hits, spans):
        assert all(0 <= span.start < span.end <= len(text) for span in some)
        assert all(left.end <= right.start for left, right in pairwise(some))
    assert all(any(span.start < hit.end and hit.start < span.end for span in spans) for hit in hits)
    assert 0 <= share_of_voice(spans, text) <= 1


@given(st.lists(st.tuples(st.integers(-9, 30), st.integers(-9, 30)), max_size=6), st.text(max_size=20))
def test_share_of_voice_is_the_share_of_covered_characters(spans: list[tuple[int, int]], text: str) -> None:
    covered = {index for start, end in spans for index in range(start, end)} & set(range(len(text)))
    assert share_of_voice(spans, text) == pytest.approx(len(covered) / len(text) if text else 0)


@given(st.sampled_from(["Northwind Heating", "Sun-Life", "AT&T", "Nestlé", "東芝", "Straße"]), MARKDOWN, MARKDOWN)
def test_a_name_between_spaces_outside_links_is_always_found(name: str, before: str, after: str) -> None:
    quiet = str.maketrans("", "", "[](){}<>@/:.`\\")
    text = f"{before.translate(quiet)} . {name} . {after.translate(quiet)}"
    assert any(name in hit for hit in found(text, name))
