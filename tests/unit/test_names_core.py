"""Claims about the name variations that follow by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.names_core import clean_variations, core_variations


@pytest.mark.parametrize(
    ("name", "websites", "variations"),
    [
        ("Northwind Heating Inc.", ["https://www.nwheat.com/x"],
         ["Northwind Heating Inc.", "Northwind Heating", "NorthwindHeating", "Northwind-Heating", "nwheat"]),
        ("PayPal", ["paypal.com"], ["PayPal", "Pay Pal", "Pay-Pal"]),
        ("Royal Bank of Canada", ["rbc.com"], ["Royal Bank of Canada", "rbc"]),
        ("First Tech Federal Credit Union", [], ["First Tech Federal Credit Union", "FTFCU"]),
        ("Target Corporation", ["target.com"], ["Target Corporation", "Target"]),
        ("Acme", ["https://acme-shop.github.io", "facebook.com/acme", "https://[bad", "", None], ["Acme", "acme-shop"]),
        ("株式会社東芝", ["toshiba.co.jp"], ["株式会社東芝", "東芝", "toshiba"]),
        ("Muster GmbH & Co. KG", [], ["Muster GmbH & Co. KG", "Muster"]),
        ("Bank of America, N.A.", [],
         ["Bank of America, N.A.", "Bank of America", "BankofAmerica", "Bank-of-America", "BOA"]),
        ("The Limited", [], ["The Limited", "TheLimited", "The-Limited"]),
        ("McDonald's", [], ["McDonald's"]),
        ("", [], []),
    ],
)  # fmt: skip
def test_core_variations(name: str, websites: list[str], variations: list[str]) -> None:
    assert core_variations(name, websites) == variations


def test_clean_up_drops_what_would_match_everything() -> None:
    candidates = ["  Sun Life ", "SUN LIFE", "Ｓｕｎｃｏ", "sunlife.com", "https://x.com", "a@b.c", "", "x",
                  "community", "Credit Union", "online", "apple", None]  # fmt: skip
    assert clean_variations(candidates, "Sun Life Financial") == ["Sun Life", "Sunco"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Apple", "Community", "Credit Union", "Booking.com", "X"])
def test_the_exact_name_always_stays(name: str) -> None:
    assert clean_variations([name], name) == [name]


@given(st.text(max_size=40), st.lists(st.text(max_size=30), max_size=3))
def test_variations_begin_with_the_name_and_are_unique(name: str, websites: list[str]) -> None:
    variations = core_variations(name, websites)
    folded = [variation.casefold() for variation in variations]
    assert len(set(folded)) == len(folded)
    assert all(variation.strip() for variation in variations)
    assert clean_variations(clean_variations(variations, name), name) == clean_variations(variations, name)
