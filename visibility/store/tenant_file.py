"""What may stand in a file of tenants, and every complaint about one that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from visibility.countries import normalise_country
from visibility.errors import InvalidFile, InvalidInput
from visibility.providers.routing import provider_of
from visibility.store.yaml_lines import Place, Source

Item = TypeVar("Item")

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MODEL_NAMES = ("chatgpt", "perplexity", "gemini", "linkup", "claude", "sonnet", "opus", "haiku", "gpt")
LONGEST_QUESTION = 4096  # characters of a prompt at Bright Data
SENTENCES = {
    "missing": "this is missing",
    "bool_parsing": "this must be true or false",
    "bool_type": "this must be true or false",
    "decimal_parsing": "this must be a number",
    "decimal_type": "this must be a number",
    "finite_number": "this must be a number",
    "decimal_max_digits": "this has too many digits",
    "decimal_whole_digits": "this has too many digits",
    "decimal_max_places": "this has more than six decimals",
    "list_type": "this must be a list",
    "string_type": "this must be text",
    "string_too_short": "this must not be blank",
    "model_type": "this must be a mapping",
    "model_attributes_type": "this must be a mapping",
    "dict_type": "this must be a mapping",
    "uuid_parsing": "this is not a UUID",
    "uuid_type": "this is not a UUID",
}


def _model(name: str) -> str:
    if provider_of(name) is None:
        close = get_close_matches(name.lower(), MODEL_NAMES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are names with {', '.join(MODEL_NAMES)}."
        raise ValueError(f"{name!r} is no model that can be asked; {hint}")
    return name.lower()


def _country(code: str) -> str:
    try:
        return normalise_country(code)
    except InvalidInput as error:
        raise ValueError(error.message) from error


def _website(url: str) -> str:
    """A bare domain is a website too; stored with scheme and lower-case host."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or "." not in host.strip(".") or any(sign.isspace() for sign in url):
        raise ValueError(f"{url!r} is not the address of a website, such as https://example.com.")
    return parts._replace(netloc=parts.netloc.lower()).geturl()


def _weekday(value: Any) -> int:
    word = str(value).strip().lower()
    if word.isdecimal() and int(word) < len(WEEKDAYS):
        return int(word)
    matches = [number for number, name in enumerate(WEEKDAYS) if len(word) >= 3 and name.startswith(word)]
    if len(matches) != 1:
        raise ValueError(f"{value!r} is not a weekday: monday to sunday, or 0 (Monday) to 6.")
    return matches[0]


def _shorthand(field: str) -> BeforeValidator:
    """A text alone stands for a mapping with this one field."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str) else value)


def _none_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Blankable = Annotated[Name | None, BeforeValidator(_none_if_blank)]
Usd = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=6)]


class Entry(BaseModel):
    """A mapping in the file; keys that we do not know are complaints, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class QuestionEntry(Entry):
    """A question as the customer wrote it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_QUESTION)]
    type: Blankable = None
    tags: list[Name] = []


class LocationEntry(Entry):
    """Where to ask from."""

    country: Annotated[Name, AfterValidator(_country)]
    region: Blankable = None
    city: Blankable = None


class PricingEntry(Entry):
    """What an evaluated answer costs the partner: a margin on the cost, else a fixed price in USD."""

    fixed_price: Usd = Decimal("0.05")
    margin_pct: Decimal | None = None
    share_answer_cost: bool = True


class PartnerEntry(Entry):
    """Who pays; `balance` in USD is what the payer starts with, once."""

    name: Name
    id: UUID | None = None
    balance: Usd | None = None
    pricing: PricingEntry | None = None


class OwnerEntry(Entry):
    """An org or a network; a list that is not given stays as it is, a given one is the whole truth."""

    name: Name
    id: UUID | None = None
    questions: list[Annotated[QuestionEntry, _shorthand("text")]] | None = None
    models: list[Annotated[Name, AfterValidator(_model)]] | None = None
    locations: list[Annotated[LocationEntry, _shorthand("country")]] | None = None
    schedule: list[Annotated[int, BeforeValidator(_weekday)]] | None = None


class NetworkEntry(OwnerEntry):
    """A group of orgs."""


class OrgEntry(OwnerEntry):
    """An organisation; `network` is the name of one of the partner's networks."""

    network: Blankable = None
    free_tier: bool = False
    spend_limit: Usd | None = None
    balance: Usd | None = None
    websites: list[Annotated[Name, AfterValidator(_website)]] | None = None


class TenantFile(Entry):
    """One partner with networks and orgs."""

    partner: PartnerEntry
    networks: list[NetworkEntry] = []
    orgs: list[OrgEntry] = []


ENTRIES: dict[str, type[Entry]] = {
    "partner": PartnerEntry,
    "pricing": PricingEntry,
    "networks": NetworkEntry,
    "orgs": OrgEntry,
    "questions": QuestionEntry,
    "locations": LocationEntry,
}


def validated(source: Source) -> TenantFile:
    """Return the file's content; raises InvalidFile that lists every complaint, one a line."""
    try:
        content = TenantFile.model_validate(source.values)
    except ValidationError as error:
        found = [(details["loc"], sentence(details)) for details in error.errors(include_url=False)]
        raise _invalid(source, found) from error
    contradictions = list(_contradictions(content))
    if contradictions:
        raise _invalid(source, contradictions)
    return content


def _invalid(source: Source, found: list[tuple[Place, str]]) -> InvalidFile:
    found.sort(key=lambda complaint: source.line(complaint[0]))
    return InvalidFile("\n".join(source.complaint(place, message) for place, message in found))


def sentence(details: ErrorDetails) -> str:
    """Say what is wrong with one value."""
    kind, given = details["type"], details["input"]
    if kind == "extra_forbidden":
        return _unknown_key(details["loc"])
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if kind == "greater_than_equal":
        return f"{given} is below {details['ctx']['ge']}."
    if kind == "string_too_long":
        return f"this has {len(given)} characters; at most {details['ctx']['max_length']} can be asked."
    told = SENTENCES.get(kind, details["msg"].lower())
    return f"{told}, not {given!r}." if isinstance(given, str) and given.strip() else f"{told}."


def _unknown_key(place: Place) -> str:
    names = [part for part in place[:-1] if isinstance(part, str)]
    fields = list((ENTRIES[names[-1]] if names else TenantFile).model_fields)
    close = get_close_matches(str(place[-1]), fields, n=1)
    return "this key is not known; " + (f"did you mean {close[0]!r}?" if close else f"known are {', '.join(fields)}.")


def _contradictions(content: TenantFile) -> Iterator[tuple[Place, str]]:
    """What is well-formed by itself but wrong beside the rest."""
    pricing = content.partner.pricing
    if pricing and pricing.margin_pct is not None and not 0 <= pricing.margin_pct < 1:
        yield (
            ("partner", "pricing", "margin_pct"),
            f"the margin of partner {content.partner.name!r} is {pricing.margin_pct}; "
            "it is a ratio from 0 up to, but not including, 1.",
        )
    lists: dict[str, Sequence[OwnerEntry]] = {"networks": content.networks, "orgs": content.orgs}
    for key, owners in lists.items():
        yield from _repeated((key,), owners, lambda owner: owner.name.casefold(), "name")
        for number, owner in enumerate(owners):
            yield from _repeated_in_owner((key, number), owner)


def _repeated_in_owner(place: Place, owner: OwnerEntry) -> Iterator[tuple[Place, str]]:
    yield from _repeated((*place, "questions"), owner.questions or [], lambda question: question.text.casefold())
    yield from _repeated((*place, "models"), owner.models or [], lambda model: model)
    yield from _repeated((*place, "locations"), owner.locations or [], lambda location: location)
    yield from _repeated((*place, "schedule"), owner.schedule or [], lambda day: day)
    if isinstance(owner, OrgEntry):
        yield from _repeated((*place, "websites"), owner.websites or [], lambda url: url.rstrip("/"))


def _repeated(
    place: Place, items: Sequence[Item], key: Callable[[Item], Hashable], field: str | None = None
) -> Iterator[tuple[Place, str]]:
    seen: Counter[Hashable] = Counter()
    for number, item in enumerate(items):
        seen[key(item)] += 1
        if seen[key(item)] == 2:
            yield (*place, number, *([field] if field else [])), "this stands in the list twice."
