"""Values of the old system as ours; what cannot be one is refused with a sentence."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from visibility.errors import ItemError

CENT_PARTS = Decimal("0.000001")  # numeric(14,6)
MOST_MONEY = Decimal(10) ** 8
LARGEST_COUNT = 2**31 - 1


class Refused(ItemError):
    """This row cannot be taken over; the sentence says why."""


def an_id(row: dict[str, Any], column: str) -> UUID:
    """Return the id; raises Refused for none, or what is no UUID."""
    found = maybe_id(row, column)
    if found is None:
        raise Refused(f"it has no {column}")
    return found


def maybe_id(row: dict[str, Any], column: str) -> UUID | None:
    """Return the id or None; raises Refused for what is no UUID."""
    value = row.get(column)
    if value is None or isinstance(value, UUID):
        return value
    try:
        return UUID(str(value))
    except ValueError:
        raise Refused(f"its {column} {value!r} is no UUID") from None


def moment(row: dict[str, Any], column: str) -> datetime | None:
    """Return a point in time, UTC; one without a zone is UTC."""
    value = row.get(column)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is not None:
        raise Refused(f"its {column} {value!r} is no point in time")
    return None


def day(row: dict[str, Any]) -> date:
    """Return the UTC day of a batch: its run_date, else the day it was made."""
    value = row.get("run_date")
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    found = moment(row, "run_date") or moment(row, "created_at")
    if found is None:
        raise Refused("it has neither run_date nor created_at")
    return found.date()


def money(row: dict[str, Any], column: str) -> Decimal | None:
    """Return USD with six decimals; raises Refused for what is no number, or too large."""
    value = row.get(column)
    if value is None:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise Refused(f"its {column} {value!r} is no amount") from None
    if not amount.is_finite() or abs(amount) >= MOST_MONEY:
        raise Refused(f"its {column} {value} is no amount that can be stored")
    return amount.quantize(CENT_PARTS)


def cost(row: dict[str, Any]) -> Decimal:
    """Return what it cost, 0 when nobody knows; raises Refused below 0."""
    amount = money(row, "cost_usd") or Decimal(0)
    if amount < 0:
        raise Refused(f"its cost {amount} USD is below 0")
    return amount


def count(row: dict[str, Any], column: str) -> int | None:
    """Return a count from 0, None where there is none or it makes no sense."""
    value = row.get(column)
    return int(value) if isinstance(value, int | float | Decimal) and 0 <= value <= LARGEST_COUNT else None


def words(row: dict[str, Any], column: str) -> str | None:
    """Return a text without blanks around it, None for a blank one."""
    value = row.get(column)
    return str(value).strip() or None if value is not None else None


def tags(row: dict[str, Any]) -> list[str]:
    """Return tags given as an array, as JSON or with commas."""
    value = row.get("tags")
    if isinstance(value, str):
        value = _split(value)
    return [str(tag).strip() for tag in value if str(tag).strip()] if isinstance(value, list) else []


def _split(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value.split(",")


def repaired(text: str) -> str:
    """Return a text that was UTF-8 read in another coding as it was meant (`CafÃ©` → `Café`); any other as it is."""
    if text.isascii():
        return text
    for read_wrongly in (_as_windows, _as_macintosh):
        try:
            return read_wrongly(text).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return text


def _as_windows(text: str) -> bytes:
    """Five bytes have no character in this coding; programs take them as they are."""
    return b"".join(
        character.encode("latin-1") if "\x80" <= character <= "\x9f" else character.encode("cp1252")
        for character in text
    )


def _as_macintosh(text: str) -> bytes:
    return text.encode("mac_roman")
