"""The extraction held against its specification, sentence by sentence, on answers as vendors write them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from visibility.citations import find_citations
from visibility.domain import Evaluation, OrgProfile, StoredAnswer
from visibility.grounding import Share, evaluate
from visibility.mentions import Span, find_names, find_passages, share_of_voice
from visibility.names_core import clean_variations, core_variations
from visibility.providers.brightdata.answer_text import with_links, without_boilerplate
from visibility.reading import AnswerReading, EvaluationReading, open_answer

V1, V2, V3 = "https://v.com/1", "https://v.com/2", "https://v.com/3"


def _found(text: str, spans: Sequence[Span]) -> list[str]:
    return [text[span.start : span.end] for span in spans]


# "Matching is on whole words, case-insensitive, punctuation- and whitespace-tolerant."
@pytest.mark.parametrize(
    ("name", "text", "hits"),
    [
        ("Sun Life", "sun life, SUN LIFE and Sun Life", ["sun life", "SUN LIFE", "Sun Life"]),
        ("Sun Life", "Sun  Life, Sun-Life, Sun‑Life, Sun–Life", ["Sun  Life", "Sun-Life", "Sun‑Life", "Sun–Life"]),
        ("Sun Life", "Sun\nLife, Sun\r\nLife, Sun\u00a0Life", ["Sun\nLife", "Sun\r\nLife", "Sun\u00a0Life"]),
        ("Sun Life", "Sun_Life Sun/Life Sun·Life Sun&nbsp;Life", ["Sun_Life", "Sun/Life", "Sun·Life", "Sun&nbsp;Life"]),
        ("Sun Life", "Sunlife, Sun Lifeguard, MySun Life, Sun Lifes", []),
        ("Sun Life", "Under the sun. Life is good.", []),
        ("Sun Life", "sun\n\nlife", []),
        ("Sun Life", "- sun\n- life", []),
        ("Sun Life", "| Sun | Life |", []),
        ("Sun Life", "Sun Life's plan and Sun Life’s plan", ["Sun Life", "Sun Life"]),
        ("Sun Life", "**Sun Life** _Sun Life_ __Sun Life__ `Sun Life`", ["Sun Life"] * 4),
        ("Sun Life", "“Sun Life” (Sun Life) Sun Life: Sun Life! Sun Life…", ["Sun Life"] * 5),
        ("Sun Life", "Sun Life™, Sun Life®, Sun Life¹", ["Sun Life"] * 3),
        ("Sun Life", "Sun Life[1] Sun Life \\[1\\] Sun Life【1†source】", ["Sun Life"] * 3),
        ("Sun Life", "🔥Sun Life🔥 使用Sun Life的产品", ["Sun Life", "Sun Life"]),
        ("Sun Life", "\\nSun Life\\n- Sun Life", ["Sun Life", "Sun Life"]),
        ("Sun Life", "1.Sun Life 2)Sun Life", ["Sun Life", "Sun Life"]),
        ("Sun Life", "Ｓｕｎ Ｌｉｆｅ", ["Ｓｕｎ Ｌｉｆｅ"]),
        ("Café Rouge", "Cafe\u0301 Rouge", ["Cafe\u0301 Rouge"]),
        ("McDonald's", "McDonald’s, McDonalds, MCDONALD'S", ["McDonald’s", "McDonalds", "MCDONALD'S"]),
        ("Johnson & Johnson", "Johnson and Johnson", ["Johnson and Johnson"]),
        ("Johnson & Johnson", "Johnson &amp; Johnson", ["Johnson &amp; Johnson"]),
        ("Johnson and Johnson", "Johnson & Johnson", ["Johnson & Johnson"]),
        ("AT&T", "AT&T, AT & T", ["AT&T", "AT & T"]),
        ("Yahoo!", "Yahoo and Yahoo!", ["Yahoo", "Yahoo!"]),
        ("7-Eleven", "7 Eleven, 7-ELEVEN", ["7 Eleven", "7-ELEVEN"]),
        ("US Bank", "U.S. Bank, US Bank, U. S. Bank", ["U.S. Bank", "US Bank", "U. S. Bank"]),
        ("US Bank", "Call us. Bank early.", []),
        ("U.S. Bank", "US Bank", ["US Bank"]),
        ("JP Morgan", "J.P. Morgan and J. P. Morgan", ["J.P. Morgan", "J. P. Morgan"]),
        ("St. Mary's Bank", "St Mary's Bank, St Marys Bank", ["St Mary's Bank", "St Marys Bank"]),
        ("E*TRADE", "E*TRADE, E\\*TRADE, E-Trade", ["E*TRADE", "E\\*TRADE", "E-Trade"]),
        ("Acme Inc.", "Acme, Inc. or Acme Inc", ["Acme, Inc.", "Acme Inc"]),
        # other scripts
        ("楽天", "楽天は日本の会社です。", ["楽天"]),
        ("삼성전자", "삼성전자는 크다.", ["삼성전자"]),
        ("Сбербанк", "СБЕРБАНК, но не Сбербанковский", ["СБЕРБАНК"]),
        ("البنك الأهلي", "يعد البنك الأهلي كبيرا", ["البنك الأهلي"]),
        ("टाटा", "टाटा बड़ी है, टाटानगर नहीं", ["टाटा"]),
        # "Names of one or two letters, and names that are ordinary words, match case-sensitively only."
        ("GE", "GE, not ge or Ge", ["GE"]),
        ("3M", "3M tape is 3m long", ["3M"]),
        ("Target", "Target has a target audience", ["Target"]),
        ("Apple", "an apple from Apple's store", ["Apple"]),
        ("IBM", "ibm and I.B.M. are IBM", ["ibm", "I.B.M.", "IBM"]),
        # "never inside link targets or e-mail addresses; link labels count"
        ("Sun Life", "[Sun Life](https://sun-life.ca/sun-life)", ["Sun Life"]),
        ("Sun Life", "[here](https://sun-life.ca) <https://sun-life.ca> https://sun-life.ca/x www.sun-life.ca", []),
        ("Sun Life", "sun-life@example.com, help@sun-life.ca, [mail](mailto:sun-life@x.com)", []),
        ("Sun Life", "[Sun Life][1]\n\n[1]: https://sun-life.ca", ["Sun Life"]),
        ("sunlife", "[sunlife.ca](https://www.sunlife.ca/en)", ["sunlife"]),
    ],
)  # fmt: skip
def test_names(name: str, text: str, hits: list[str]) -> None:
    assert _found(text, find_names(text, [name])) == hits


CARD_WITH_LIST = "**Sun Life**\n\n**Pros:**\n- cheap\n\n**Cons:**\n- slow"
TITLED = "# [Sun Life](https://s.ca): an overview\nIntro.\n\n## Pros\n- Cheap\n\n## Cons\nSlow."


# "Blocks": sentences, list items with what is under them, table rows, cards, headings with their section.
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Others first. Sun Life is big. It sells plans.", ["Sun Life is big."]),
        ("No name here.", []),
        ("See [site](https://sun-life.ca). Nothing.", []),
        ("Dr. Smith of Sun Life, Inc. says 3.5 percent. No.", ["Dr. Smith of Sun Life, Inc. says 3.5 percent."]),
        ("Sun Life is big.[1] Other is small.[2]", ["Sun Life is big.[1]"]),
        ("Sun Life is big.\\[1\\] Other is small.", ["Sun Life is big.\\[1\\]"]),
        ("Sun Life is big ([source](https://a.com)). Other.", ["Sun Life is big ([source](https://a.com))."]),
        ("Is Sun Life good 😀? Yes! Very.", ["Is Sun Life good 😀?"]),
        ("Sun Lifeは大きい。他は小さい。", ["Sun Lifeは大きい。"]),
        ("Sun Life बड़ी है। दूसरा छोटा है।", ["Sun Life बड़ी है।"]),
        ("هل Sun Life جيد؟ نعم هو جيد.", ["هل Sun Life جيد؟"]),
        ("> Sun Life is big. Other is small.", ["> Sun Life is big."]),
        # list items
        ("- A: x\n- Sun Life: y\n  more\n  - nested\n- B", ["- Sun Life: y\n  more\n  - nested"]),
        ("1. A\n2. Sun Life\nlazy\n3. B", ["2. Sun Life\nlazy"]),
        ("1. **A**\n   - x\n\n2. **Sun Life**\n   - cheap\n\n3. **B**\n   - y", ["2. **Sun Life**\n   - cheap"]),
        ("- Insurers\n  - Life\n    - Sun Life: x\n- Banks", ["- Insurers\n  - Life\n    - Sun Life: x"]),
        ("- A\n\n- Sun Life\n\n  second\n\n- C", ["- Sun Life\n\n  second"]),
        ("1. **A**\n- x\n\n2. **Sun Life**\n- cheap\n\n3. **B**\n- y", ["2. **Sun Life**\n- cheap"]),
        ("1. A\n- x\n\n2. Sun Life\n- cheap\n- fast\n\n3. B\n- y", ["2. Sun Life\n- cheap\n- fast"]),
        ("1. Insurers\n- A\n- Sun Life\n- B\n\n2. Banks\n- C", ["- Sun Life"]),
        # lists that Markdown does not know
        ("Best:\n• A: x.\n• Sun Life: cheap. Open late.\n• B", ["• Sun Life: cheap. Open late."]),
        ("• A\n\n• Sun Life: cheap. Open late.\n\n• B", ["• Sun Life: cheap. Open late."]),
        ("• A\n  ◦ x\n• Sun Life\n  ◦ cheap\n• B", ["• Sun Life\n  ◦ cheap"]),
        ("✅ A: x\n✅ Sun Life: cheap. Open late.\n✅ B", ["✅ Sun Life: cheap. Open late."]),
        ("✅ Yes. Sun Life is good. So is B.", ["Sun Life is good."]),
        ("Next:\n3. A: x\n4. Sun Life: y\n5. B: z", ["4. Sun Life: y"]),
        ("-A\n-Sun Life\n-B", ["-Sun Life"]),
        ("1.A\n2.Sun Life\n3.B", ["2.Sun Life"]),
        # tables
        ("| A | B |\n|---|---|\n| X | 4 |\n| **Sun Life** | 5 |\n", ["| **Sun Life** | 5 |"]),
        ("Rates:\nName | Rate\n:-- | --:\nSun Life | 5 \\| 6<br>7\nX | 3", ["Sun Life | 5 \\| 6<br>7"]),
        # cards
        ("**A**\nBig.\n\n**Sun Life**\nCheap\n4.5 stars\n\n**B**\nx", ["**Sun Life**\nCheap\n4.5 stars"]),
        ("[A](https://a.ca)\nx\n\n[Sun Life](https://s.ca)\nCheap\n\n[B](https://b.ca)\ny",
         ["[Sun Life](https://s.ca)\nCheap"]),
        ("**A**\n\nBig.\n\n**Sun Life** ⭐ 4.5\n\nCheap.\n\nFast.\n\n**B**\n\nx",
         ["**Sun Life** ⭐ 4.5\n\nCheap.\n\nFast."]),
        ("**24/7 repair**\nSun Life, open.\nToronto\n\n**B**\nx", ["**24/7 repair**\nSun Life, open.\nToronto"]),
        ("**A**\nx\n\n**Sun Life**\nFirm.\n- cheap\n- fast\n\n**B**\ny", ["**Sun Life**\nFirm.\n- cheap\n- fast"]),
        (f"{CARD_WITH_LIST}\n\n**B**\n\n**Pros:**\n- x", [CARD_WITH_LIST]),
        ("**Sun Life**\nCheap.\n\n**Bottom line:**\nAsk both.", ["**Sun Life**\nCheap."]),
        ("**Top picks**\n\n**Sun Life:**\nGood.\n\n**B:**\nBad.", ["**Sun Life:**\nGood."]),
        ("**Sun Life**\n**Address:** Here\n**Phone:** 555\n\n**B**\nx",
         ["**Sun Life**\n**Address:** Here\n**Phone:** 555"]),
        # headings
        ("### A\nBig.\n\n### Sun Life\nOne. Two.\n\n- x\n\n### B\ny", ["### Sun Life\nOne. Two.\n\n- x"]),
        ("## Best\n\n### 1. Sun Life\nGood.\n\n#### Price\nLow.\n\n### 2. B\nx",
         ["### 1. Sun Life\nGood.\n\n#### Price\nLow."]),
        ("## Sun Life\nGood.\n\n---\n\n## B\nx", ["## Sun Life\nGood."]),
        ("## Insurers\nOne. Sun Life here. Two.\n\n## B\nx", ["Sun Life here."]),
        (TITLED, [TITLED]),
        ("# Alternatives to Sun Life\nTwo.\n\n## A\nx\n\n## B\ny", ["# Alternatives to Sun Life\nTwo."]),
        # line ends
        ("Intro.\r\n\r\n- A: x\r\n- Sun Life: y\r\n- B: z\r\n", ["- Sun Life: y"]),
        ("Intro.\\n\\n- A: x\\n- Sun Life: y\\n- B: z", ["- Sun Life: y"]),
        ("Intro.\\n\\n- A: x\\n- Sun Life: y\\n- B: z\n", ["- Sun Life: y"]),
        ("Intro:\n1. A\n2. Sun Life\n3. B\nEnd.", ["2. Sun Life"]),
    ],
)  # fmt: skip
def test_passages(text: str, found: list[str]) -> None:
    assert _found(text, find_passages(text, ["Sun Life"])) == found


@pytest.mark.parametrize(
    ("spans", "text", "share"),
    [
        ([Span(0, 5)], "x" * 10, 0.5),
        ([], "x" * 10, 0.0),
        ([Span(0, 6), Span(4, 8)], "x" * 10, 0.8),
        ([Span(0, 5), Span(0, 5)], "x" * 10, 0.5),
        ([Span(0, 10), Span(5, 99)], "x" * 10, 1.0),
        ([Span(0, 2)], "😀日é!", 0.5),
        ([], "", 0.0),
    ],
)
def test_share_of_voice_counts_unicode_characters_once(spans: list[Span], text: str, share: float) -> None:
    assert share_of_voice(spans, text) == share


# "Canonical form", rule by rule, as the public function shows it.
@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://WWW.Example.COM/Path", "https://example.com/Path"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("http://example.com:443/a", "http://example.com:443/a"),
        ("https://example.com/a?UTM_Source=x&b=2&utm_medium=y&a=1", "https://example.com/a?b=2&a=1"),
        ("https://example.com/a?gclid=1&fbclid=2&MSCLKID=3&q=x", "https://example.com/a?q=x"),
        ("https://example.com/a?gclidx=1&utm=2", "https://example.com/a?gclidx=1&utm=2"),
        ("https://example.com/?utm_source=chatgpt.com", "https://example.com"),
        ("https://example.com/a/", "https://example.com/a"),
        ("https://example.com/a/#Part-2", "https://example.com/a#Part-2"),
        ("https://example.com/wiki/Sun_(star)", "https://example.com/wiki/Sun_(star)"),
        ("https://example.com/i.PNG?w=1", None),
        ("https://example.com/i.webp", None),
        ("ftp://example.com/a", None),
        ("mailto:a@example.com", None),
    ],
)
def test_canonical_form(url: str, canonical: str | None) -> None:
    assert [citation.url for citation in find_citations("", [], [url])] == ([canonical] if canonical else [])


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("See [a](https://a.com/x \"T\") and <https://b.com/y>, https://c.com/z.",
         ["https://a.com/x", "https://b.com/y", "https://c.com/z"]),
        ("(https://a.com/Sun_(star)) and [w](https://b.com/Sun_(star))",
         ["https://a.com/Sun_(star)", "https://b.com/Sun_(star)"]),
        ("**https://a.com/x** | https://a.com/y | `https://a.com/z`",
         ["https://a.com/x", "https://a.com/y", "https://a.com/z"]),
        ("https://a.com/x\\nhttps://a.com/y", ["https://a.com/x", "https://a.com/y"]),
        ("见https://a.com/x。（https://a.com/y）", ["https://a.com/x", "https://a.com/y"]),
        ("[1](https://a.com/b\\_c)[2](https://a.com/d?a=1&amp;b=2)", ["https://a.com/b_c", "https://a.com/d?a=1&b=2"]),
        ("https://a.com/x https://www.a.com/x/ https://a.com/x?utm_id=1", ["https://a.com/x"]),
        ("![i](https://a.com/i.png) [m](mailto:x@a.com) [r](/rel) a.com", []),
        ("[ref][1]\n\n[1]: https://a.com/x", ["https://a.com/x"]),
    ],
)  # fmt: skip
def test_addresses_of_the_text(text: str, urls: list[str]) -> None:
    assert [citation.url for citation in find_citations(text, [])] == urls


@pytest.mark.parametrize(
    ("text", "sources", "urls"),
    [
        ("-", [V1, V2], [V1, V2]),
        ("-", [{"url": V1, "title": "t", "domain": "v.com", "position": 1}], [V1]),
        ("-", {"citations": [{"url": V1, "cited": False}, {"url": V2, "cited": "true"}, {"url": V3}]}, [V2, V3]),
        ("-", {"citations": None, "search_sources": [{"url": V1, "rank": 1}], "links_attached": None}, []),
        ("-", {"sources": [{"url": V1, "position": 1}]}, [V1]),
        ("-", {"links_attached": [{"url": V1, "text": "x", "position": 1}]}, [V1]),
        ("A [2].", {"citations": None, "search_sources": [{"url": V1, "rank": 1}, {"url": V2, "rank": 2}]}, [V2]),
        ("A \\[1\\].", {"search_sources": [{"url": V1, "rank": 1}]}, [V1]),
        ("A [2][9].", {"citations": [{"url": V1, "cited": False}, {"url": V2, "cited": False}]}, [V2]),
        (f"A [1] {V1}/?utm_source=x https://t.com", [V1], [V1, "https://t.com"]),
        ("-", [None, 1, {}, {"url": None}, {"url": "no url"}], []),
    ],
)
def test_the_vendors_list_comes_first_and_resolves_markers(text: str, sources: Any, urls: list[str]) -> None:
    citations = find_citations(text, [], sources)
    assert [citation.url for citation in citations] == urls
    assert [citation.position for citation in citations] == list(range(1, len(urls) + 1))
    assert all(citation.source == ("text" if citation.domain == "t.com" else "vendor") for citation in citations)


@pytest.mark.parametrize(
    ("website", "url", "kind"),
    [
        ("https://www.acme.co.uk", "https://blog.acme.co.uk/x", "primary"),
        ("https://shop.acme.com/en/", "https://acme.com/about", "primary"),
        ("acme.com", "https://acme.com/x", "primary"),
        ("acme.com", "https://notacme.com", "secondary"),
        ("acme.com", "https://acme.com.evil.com", "secondary"),
        ("other.co.uk", "https://acme.co.uk", "secondary"),
        ("https://www.facebook.com/Acme", "https://facebook.com/acme/posts/1", "primary"),
        ("https://facebook.com/acme", "https://facebook.com/acmeother", "secondary"),
        ("https://facebook.com/acme", "https://facebook.com/", "secondary"),
        ("https://linkedin.com/company/acme", "https://ca.linkedin.com/company/acme/about", "primary"),
        ("https://acme.github.io", "https://acme.github.io/docs", "primary"),
        ("https://acme.github.io", "https://other.github.io", "secondary"),
        ("https://acme.wordpress.com", "https://other.wordpress.com", "secondary"),
        ("https://acme.substack.com", "https://other.substack.com/p/x", "secondary"),
        ("https://acme.substack.com", "https://acme.substack.com/p/x", "primary"),
        ("https://sites.google.com/view/acme", "https://sites.google.com/view/other", "secondary"),
        ("https://play.google.com/apps/details?id=com.acme", "https://play.google.com/apps/details?id=b", "secondary"),
        ("https://instagram.com/acme?hl=en", "https://instagram.com/acme/", "primary"),
        ("", "https://acme.com", "secondary"),
    ],
)  # fmt: skip
def test_primary_is_the_orgs_own_site(website: str, url: str, kind: str) -> None:
    assert [citation.type for citation in find_citations(url, [website])] == [kind]


ANSWER = "Acme leads. Zed follows. Sun Life is third. It is cheap. Acme again. Nobody knows."
NAMES = ("Sun Life",)
PROFILE = OrgProfile(UUID(int=1), "Sun Life", NAMES, ("https://sunlife.ca",))


def _evaluated(blocks: list[int], *, verified: bool = True, absent: bool = False, text: str = ANSWER) -> Evaluation:
    stored = StoredAnswer(UUID(int=2), "Who?", text, None, "chatgpt")
    judged = EvaluationReading(
        is_mention_verified=verified, mention_blocks=blocks, sentiment="positive", absence_statement=absent
    )
    reading = AnswerReading(answer=1, brands=["Acme", "Zed", "Nowhere Inc", "Sun Life"], evaluation=judged)
    return evaluate(open_answer(stored, PROFILE), reading, PROFILE, "v", Share(cost_usd=Decimal(0)))


def test_chosen_blocks_become_verbatim_spans_with_rank_and_share() -> None:
    found = _evaluated([3, 4])
    assert (found.mentioned, found.reason, found.sentiment) == (True, "verified", "positive")
    assert found.mention_text == "Sun Life is third. It is cheap."
    assert found.mention_rank == 3
    assert found.share_of_voice == pytest.approx(31 / len(ANSWER))
    assert found.competitors == ("Acme", "Zed")


def test_guards_drop_what_is_not_grounded() -> None:
    assert (_evaluated([0, 3, 7, 99, -1]).ungrounded, _evaluated([3, 99]).mention_text) == (4, "Sun Life is third.")
    assert _evaluated([3, 6]).mention_text == "Sun Life is third."
    for found in (_evaluated([1]), _evaluated([]), _evaluated([99]), _evaluated([3], verified=False)):
        assert (found.mentioned, found.reason, found.share_of_voice) == (False, "not_verified", 0.0)
        assert (found.sentiment, found.mention_rank, found.mention_text) == (None, None, None)


def test_absence_is_no_mention() -> None:
    found = _evaluated([1], absent=True, text="I know nothing about Sun Life.")
    assert (found.mentioned, found.reason) == (False, "absence_statement")
    found = _evaluated([1], text="Acme leads. See [it](https://sunlife.ca).")
    assert (found.mentioned, found.reason, found.citation) == (False, "name_absent", True)


@pytest.mark.parametrize(
    ("name", "websites", "expected"),
    [
        ("Sun Life Financial Inc.", ["https://www.sunlife.ca/x"],
         {"Sun Life Financial", "SunLifeFinancial", "Sun-Life-Financial", "sunlife", "SLF"}),
        ("Best Buy Co., Inc.", [], {"Best Buy", "BestBuy", "Best-Buy"}),
        ("FirstOntario Credit Union", ["firstontario.com"], {"First Ontario Credit Union", "firstontario"}),
        ("SunLife", [], {"Sun Life", "Sun-Life"}),
        ("Coca-Cola", [], {"Coca Cola", "CocaCola"}),
    ],
)  # fmt: skip
def test_the_core_of_the_name_variations(name: str, websites: list[str], expected: set[str]) -> None:
    assert set(core_variations(name, websites)) == {name} | expected


def test_clean_up_of_the_name_variations() -> None:
    dropped = ["", " ", "https://x.com", "www.x.com", "a@b.com", "SUN LIFE", "S", "credit union", "community", "Online"]
    assert clean_variations([" Sun  Life ", "Ｓｕｎ Ｌｉｆｅ", *dropped, "SLF"], "Sun Life") == ["Sun Life", "SLF"]
    assert clean_variations(["community", "online"], "Community") == ["community"]


def test_the_answer_text_of_chatgpt() -> None:
    assert without_boilerplate("Give feedback\n\nAcme") == without_boilerplate("Give feedback Acme") == "Acme"
    assert without_boilerplate("Give feedback to Acme.") == "Give feedback to Acme."
    assert with_links("A [1] \\[2\\] [3]", [{"url": V1, "position": 1}, V2]) == f"A [1]({V1}) [2]({V2}) [3]"
