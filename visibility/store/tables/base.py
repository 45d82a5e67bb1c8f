"""What every table shares: types, naming conventions, keys and timestamps."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, MetaData, Numeric, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MONEY = Numeric(14, 6)
UTC_TIMESTAMP = DateTime(timezone=True)
EXACTLY_ONE_OWNER = "(org_id IS NULL) <> (network_id IS NULL)"


class Base(DeclarativeBase):
    """Naming conventions make every constraint addressable in migrations and error messages."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: UTC_TIMESTAMP,
        Decimal: MONEY,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def key() -> Mapped[UUID]:
    """A UUID primary key that the database makes when the writer gives none."""
    return mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))


def now() -> Mapped[datetime]:
    """The start of the writing transaction, UTC."""
    return mapped_column(server_default=text("now()"))


def zero_money() -> Mapped[Decimal]:
    """USD, six decimals, 0 unless given."""
    return mapped_column(MONEY, server_default=text("0"))


def one_of(column: str, *values: str) -> CheckConstraint:
    """A check that names the known values of a column; a Postgres enum could not lose a value again."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def not_blank(column: str) -> CheckConstraint:
    """A check that a text says something (null is left to the column)."""
    return CheckConstraint(f"length(trim({column})) > 0", name=f"{column}_not_blank")


def not_negative(*columns: str) -> tuple[CheckConstraint, ...]:
    """One check per column: counts and money never fall below zero."""
    return tuple(CheckConstraint(f"{column} >= 0", name=f"{column}_not_negative") for column in columns)
