"""What is put to an assistant for a question asked from a location."""

from __future__ import annotations

from visibility.countries import country_name
from visibility.domain import Location


def prompt_for(question_text: str, location: Location) -> str:
    """Return the customer's question, unaltered; a sentence names the place only when a region or city is set.

    The country alone adds nothing here: it travels in the request's own country field.
    """
    if not (location.region_name or location.city):
        return question_text
    places = (location.city, location.region_name, country_name(location.country_code))
    return f"{question_text}\n\nAnswer for a person in {', '.join(place for place in places if place)}."
