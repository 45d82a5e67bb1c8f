from __future__ import annotations

from uuid import UUID

import pytest

from visibility.brands import competitors, find_brands, rank, site_hosts
from visibility.domain import OrgProfile

ORG = OrgProfile(
    UUID(int=1),
    "Northwind Heating",
    ("Northwind Heating", "Northwind", "NWH"),
    ("https://www.northwindheating.example/about", "facebook.com/northwind"),
)


def names(text: str, candidates: list[str], *, verified: bool = True) -> list[str]:
    return [brand.name for brand in competitors(find_brands(text, candidates), ORG, verified=verified)]


def test_brands_that_are_not_in_the_text_are_dropped() -> None:
    assert names("Carrier is fine.", ["Carrier", "Phantom & Daughters", "Carriers United"]) == ["Carrier"]


def test_a_brand_inside_another_word_is_not_found() -> None:
    assert find_brands("The trainer wore Traineau.", ["Trane", "Rain"]) == ()


def test_brands_come_in_the_order_of_the_text_with_their_occurrences() -> None:
    found = find_brands("Trane beats Carrier. Trane again.", ["Carrier", "Trane"])
    assert [(brand.name, brand.first_offset, brand.occurrences) for brand in found] == [
        ("Trane", 0, 2), ("Carrier", 12, 1),
    ]  # fmt: skip


def test_two_spellings_of_one_brand_are_one() -> None:
    found = find_brands("Sun  Life or sun-life?", ["Sun Life", "SUN LIFE", "sun-life"])
    assert [(brand.name, brand.occurrences) for brand in found] == [("Sun Life", 2)]


def test_the_orgs_own_names_and_domains_are_no_competitors() -> None:
    text = "NWH, northwind, Northwind-Heating and northwindheating.example compete with Carrier."
    assert names(text, ["NWH", "northwind", "Northwind-Heating", "northwindheating.example", "Carrier"]) == ["Carrier"]


def test_a_longer_name_that_contains_the_orgs_is_its_own_only_where_the_org_is_verified() -> None:
    text = "Northwind Heating Plus is a plan."
    assert names(text, ["Northwind Heating Plus"]) == []
    assert names(text, ["Northwind Heating Plus"], verified=False) == ["Northwind Heating Plus"]


def test_a_name_that_shares_a_short_form_is_a_competitor() -> None:
    assert names("Northwind Traders sells food.", ["Northwind Traders"]) == ["Northwind Traders"]


@pytest.mark.parametrize("candidate", ["", "   ", "!!!", "x" * 500, "\x00\ud800", "\n"])
def test_what_is_no_name_is_dropped(candidate: str) -> None:
    assert find_brands("x y z " + candidate.replace("\x00", "").replace("\ud800", ""), [candidate]) == ()


def test_rank_counts_the_brands_before_the_org() -> None:
    found = find_brands("Trane, Carrier, Northwind, Lennox", ["Lennox", "Trane", "Carrier"])
    others = competitors(found, ORG, verified=True)
    assert rank(16, others) == 3
    assert rank(0, others) == 1


def test_hosts_are_bare() -> None:
    assert site_hosts(["https://www.A.example:8443/x", "b.example", ""]) == ("a.example", "b.example")
