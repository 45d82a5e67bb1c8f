"""Claims about the sources found in an answer and its vendor's record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.citations import canonical_url, find_citations

SITES = ["https://www.northwind.ca", "facebook.com/northwind", "https://northwind.github.io"]


def urls(text: str, sources: Any = None) -> list[str]:
    return [citation.url for citation in find_citations(text, SITES, sources)]


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTPS://WWW.Northwind.CA/", "https://northwind.ca"),
        ("https://n.ca/A/?UTM_Source=x&b=2&utm_id=1&a=1&GCLID=7&fbclid=&msclkid=9", "https://n.ca/A?b=2&a=1"),
        ("https://n.ca/?utm_source=chatgpt.com", "https://n.ca"),
        ("https://n.ca/a#part", "https://n.ca/a#part"),
        ("https://n.ca:443/a", "https://n.ca/a"),
        ("http://n.ca:80", "http://n.ca"),
        ("http://n.ca:443/", "http://n.ca:443"),
        ("https://n.ca:8443/a/", "https://n.ca:8443/a"),
        ("https://MÜNCHEN.de/ä", "https://münchen.de/ä"),
        ("https://n.ca@evil.com/", "https://evil.com"),
        ("https://n.ca/?q=x.png", "https://n.ca?q=x.png"),
        ("https://n.ca./a//", "https://n.ca/a"),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("https://n.ca/a.PNG?x=1", None), ("https://n.ca/a.webp", None), ("ftp://n.ca", None), ("mailto:a@n.ca", None),
        ("n.ca", None), ("https://", None), ("https://...", None), ("http://[::1", None), ("https://n.ca:x/", None),
        ("https://foo", None), ("javascript:alert(1)", None), ("https://n.ca/\x00", None), ("", None),
        ("https://n.ca:99999/", None),
    ],
)  # fmt: skip
def test_canonical_form(url: str, canonical: str | None) -> None:
    assert canonical_url(url) == canonical


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://a.example/page?q=1#:~:text=" + "x" * 2000, "https://a.example/page?q=1"),
        ("https://a.example/page?q=" + "é" * 1000, "https://a.example/page"),
        ("https://a.example/" + "x" * 2000, None),
    ],
    ids=["fragment", "parameters", "path"],
)
def test_an_address_that_the_database_could_not_index_is_shortened_to_its_page(url: str, canonical: str | None) -> None:
    assert canonical_url(url) == canonical


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](https://a.com/x_(y)) and (https://en.wikipedia.org/wiki/A_(b)).",
         ["https://a.com/x_(y)", "https://en.wikipedia.org/wiki/A_(b)"]),
        ("[a](<https://a.com/x> 'title') <https://b.com> **https://c.com/**, https://d.com?!",
         ["https://a.com/x", "https://b.com", "https://c.com", "https://d.com"]),
        ("see [a][1]\n\n[1]: https://a.com 'T'", ["https://a.com"]),
        ("![pic](https://a.com/pic?id=1) [![p](https://a.com/p.png)](https://b.com/page)", ["https://b.com/page"]),
        ("https://a.com/p.jpeg https://b.com,https://c.com", ["https://b.com", "https://c.com"]),
        ("[https://a.com/lon…](https://a.com/long?a=1&amp;b=2)", ["https://a.com/long?a=1&b=2"]),
        ("见https://a.com/路径。然后「https://b.com」", ["https://a.com/路径", "https://b.com"]),
        ("| https://a.com/x|y |", ["https://a.com/x"]),
        ("https://a.com/x\\_y\\[1\\] https://b.com[2]", ["https://a.com/x_y", "https://b.com"]),
        ("[a](https://a.com and https://b.com unclosed", ["https://a.com", "https://b.com"]),
        ("mail a@b.com, a.com/x, ftp://c.com, www.d.com", []),
        ("https://web.archive.org/web/2020/https://a.com/x", ["https://web.archive.org/web/2020/https://a.com/x"]),
    ],
)  # fmt: skip
def test_addresses_in_the_text(text: str, found: list[str]) -> None:
    assert urls(text) == found


def test_the_vendors_list_comes_first_and_each_url_once() -> None:
    sources = {"citations": [{"url": "https://www.b.com/?utm_source=x"}, "https://c.com"], "links_attached": None}
    citations = find_citations("https://a.com http://b.com https://b.com/", SITES, sources)
    assert [(c.url, c.source, c.position) for c in citations] == [
        ("https://b.com", "vendor", 1),
        ("https://c.com", "vendor", 2),
        ("https://a.com", "text", 3),
        ("http://b.com", "text", 4),
    ]


def test_an_entry_marked_as_not_cited_counts_only_when_a_marker_refers_to_it() -> None:
    entries = [{"url": f"https://s{n}.com", "cited": cited} for n, cited in enumerate([False, "false", True, None], 1)]
    assert urls("Good.", {"citations": entries}) == ["https://s3.com", "https://s4.com"]
    assert urls(r"Good \[2\].", {"citations": entries}) == ["https://s3.com", "https://s4.com", "https://s2.com"]


def test_search_results_are_no_citations_unless_a_marker_refers_to_them() -> None:
    sources = {"search_sources": [{"url": "https://s1.com", "rank": 1}, {"url": "https://s2.com", "rank": 2}],
               "web_search_query": ["https://query.com"]}  # fmt: skip
    assert urls("Good.", sources) == []
    assert urls("Good [2][9] [1](https://own.com).", sources) == ["https://s2.com", "https://own.com"]


def test_markers_resolve_by_position_before_place() -> None:
    links = [
        {"url": "https://p7.com", "position": 7, "cited": False},
        {"url": "https://p1.com", "position": 1, "cited": False},
    ]
    assert urls("a [1, 7]", {"links_attached": links}) == ["https://p1.com", "https://p7.com"]


@pytest.mark.parametrize(
    "sources",
    [None, [], {}, "x", 7, {"citations": "x"}, {"citations": [None, 3, {"url": None}, {"url": 5}, {}, ["https://a.com"]]},
     {"citations": {"url": 3}}, {"sources": [{"url": "https://[bad", "position": "x"}]}, [{"cited": True}], {1: 2}],
)  # fmt: skip
def test_odd_vendor_records_give_nothing_and_raise_nothing(sources: Any) -> None:
    assert urls("text [1]", sources) == []


@pytest.mark.parametrize("sources", [["https://a.com"], [{"url": "https://a.com"}], {"url": "https://a.com"},
                                     {"annotations": [{"url_citation": {"url": "https://a.com"}}]}])  # fmt: skip
def test_vendor_records_of_other_shapes_are_read(sources: Any) -> None:
    assert urls("", sources) == ["https://a.com"]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://northwind.ca/x", "primary"), ("http://shop.NORTHWIND.ca:8080", "primary"),
        ("https://northwind.ca.evil.com", "secondary"), ("https://notnorthwind.ca", "secondary"),
        ("https://facebook.com/Northwind/about", "primary"), ("https://m.facebook.com/northwind", "primary"),
        ("https://facebook.com/northwind-fans", "secondary"), ("https://facebook.com", "secondary"),
        ("https://northwind.github.io/a", "primary"), ("https://other.github.io", "secondary"),
        ("https://github.io", "secondary"), ("https://northwind.com", "secondary"),
    ],
)  # fmt: skip
def test_primary_means_the_orgs_own_page(url: str, kind: str) -> None:
    assert [citation.type for citation in find_citations(f"<{url}>", SITES)] == [kind]


def test_international_hosts_are_one_in_both_spellings() -> None:
    citations = find_citations("https://xn--mnchen-3ya.de/a https://münchen.de/a", ["https://münchen.de"])
    assert [(citation.url, citation.type) for citation in citations] == [("https://xn--mnchen-3ya.de/a", "primary")]


def test_a_profile_page_is_told_from_others_by_its_query() -> None:
    text = "https://facebook.com/profile.php?id=2 https://facebook.com/profile.php?id=1&x=2"
    found = find_citations(text, ["https://www.facebook.com/profile.php?id=1"])
    assert [citation.type for citation in found] == ["secondary", "primary"]


@pytest.mark.parametrize("websites", [[], [""], [None], ["https://["], ["   "], "northwind.ca", iter(["x"])])
def test_odd_websites_raise_nothing(websites: Any) -> None:
    assert len(find_citations("https://northwind.ca", websites)) == 1


def test_the_domain_is_the_registrable_one() -> None:
    found = find_citations("https://blog.acme.co.uk/a https://acme.wixsite.com/b http://127.0.0.1:80/", [])
    assert [citation.domain for citation in found] == ["acme.co.uk", "acme.wixsite.com", "127.0.0.1"]


@given(st.text(st.sampled_from("htps:/.wa?&=#()[]<>!\\ \n*_,;utm1@ü日\x00\ud800"), max_size=120))
def test_citations_are_numbered_canonical_and_unique(text: str) -> None:
    found = find_citations(f"https://{text} [a](http://{text})", SITES, {"citations": [text, f"https://{text}"]})
    assert [citation.position for citation in found] == list(range(1, len(found) + 1))
    assert len({citation.url for citation in found}) == len(found)
    assert all(canonical_url(citation.url) == citation.url for citation in found)
