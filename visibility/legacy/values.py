"""Values of the old system as ours; what cannot be one is refused with a sentence."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from visibility.errors import ItemError
from visibility.legacy.report import Report

TRUE_WORDS = ("t", "true", "y", "yes", "on", "1")  # as Postgres reads them, where they are whole
FALSE_WORDS = ("f", "false", "n", "no", "off", "0")
CENT_PARTS = Decimal("0.000001")  # numeric(14,6)
MOST_MONEY = Decimal(10) ** 8
LARGEST_COUNT = 2**31 - 1
LONGEST_SHOWN = 80


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
        raise Refused(f"its {column} {shortened(value)!r} is no UUID") from None


def moment(row: dict[str, Any], column: str) -> datetime | None:
    """Return a point in time, UTC; one without a zone is UTC."""
    value = _written_out(row.get(column))
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is not None:
        raise Refused(f"its {column} {shortened(value)!r} is no point in time")
    return None


def _written_out(value: Any) -> Any:
    """A point in time may stand there as a text."""
    try:
        return datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        return value


def flag(row: dict[str, Any], column: str) -> bool | None:
    """Return true or false, also where it is written in words; raises Refused for a word that is neither."""
    value = words(row, column)
    if value is None:
        return None
    if value.lower() not in (*TRUE_WORDS, *FALSE_WORDS):
        raise Refused(f"its {column} {value!r} is neither true nor false")
    return value.lower() in TRUE_WORDS


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
        raise Refused(f"its {column} {shortened(value)!r} is no amount") from None
    if not amount.is_finite() or abs(amount) >= MOST_MONEY:
        raise Refused(f"its {column} {value} is no amount that can be stored")
    return amount.quantize(CENT_PARTS)


def cost(row: dict[str, Any], table: str, report: Report) -> Decimal:
    """Return what it cost, 0 when nobody knows; what can be no cost is taken as 0, which is noted."""
    try:
        amount = money(row, "cost_usd") or Decimal(0)
    except Refused as error:
        reason = error.message
    else:
        reason = f"its cost {amount} USD is below 0"
        if amount >= 0:
            return amount
    report.note(table, next(iter(row.values())), f"{reason}; it is taken as 0")
    return Decimal(0)


def number(value: object) -> float:
    """Return a number, NaN for what is none."""
    return float(value) if isinstance(value, int | float | Decimal) else math.nan


def count(row: dict[str, Any], column: str) -> int | None:
    """Return a count from 0, None where there is none or it makes no sense."""
    value = number(row.get(column))
    return int(value) if 0 <= value <= LARGEST_COUNT else None


def words(row: dict[str, Any], column: str) -> str | None:
    """Return a text without blanks around it, None for a blank one."""
    value = row.get(column)
    return str(value).strip() or None if value is not None else None


def shortened(value: object, longest: int = LONGEST_SHOWN) -> str:
    """Return a text as it is shown in a sentence."""
    return text if len(text := str(value)) <= longest else f"{text[:longest]}…"


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
