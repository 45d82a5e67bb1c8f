"""Countries: strict codes (ISO 3166-1 alpha-2) and the English names that people use for them."""

from __future__ import annotations

from functools import cache

import pycountry

from visibility.errors import InvalidInput


@cache
def normalise_country(code: str) -> str:
    """Return the upper-case alpha-2 code; `UK` becomes `GB`. Raises InvalidInput for what is no country."""
    upper = code.strip().upper()
    upper = "GB" if upper == "UK" else upper
    if len(upper) != 2 or pycountry.countries.get(alpha_2=upper) is None:
        raise InvalidInput(f"{code!r} is not a country code of ISO 3166-1 alpha-2, such as US or GB.")
    return upper


@cache
def country_name(code: str) -> str:
    """Return the country's English name as it stands in a sentence: `South Korea`, `Federated States of Micronesia`.

    Raises InvalidInput for what is no country.
    """
    country = pycountry.countries.get(alpha_2=normalise_country(code))
    assert country is not None
    name = str(getattr(country, "common_name", country.name)).partition(" (")[0]
    head, comma, tail = name.partition(", ")
    return f"{tail} {head}" if comma and tail.lower().endswith((" of", " of the")) else name
