"""Partners, networks, orgs and what is asked for them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from visibility.store.tables.base import EXACTLY_ONE_OWNER, Base, key, not_blank, not_negative, now


class Partner(Base):
    __tablename__ = "partners"
    __table_args__ = (not_blank("name"),)
    partner_id: Mapped[UUID] = key()
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = now()


class Network(Base):
    __tablename__ = "networks"
    __table_args__ = (UniqueConstraint("partner_id", "name"), not_blank("name"))
    network_id: Mapped[UUID] = key()
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partners.partner_id"))
    name: Mapped[str]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class OrgRow(Base):
    __tablename__ = "orgs"
    __table_args__ = (
        UniqueConstraint("partner_id", "name"),
        not_blank("name"),
        *not_negative("spend_limit"),
        Index(None, "network_id"),
    )
    org_id: Mapped[UUID] = key()
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partners.partner_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    network_joined_at: Mapped[datetime | None]
    name: Mapped[str]
    is_free_tier: Mapped[bool] = mapped_column(server_default=text("false"))
    spend_limit: Mapped[Decimal | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class OrgWebsite(Base):
    __tablename__ = "org_websites"
    __table_args__ = (UniqueConstraint("org_id", "url"), not_blank("url"))
    website_id: Mapped[UUID] = key()
    org_id: Mapped[UUID] = mapped_column(ForeignKey("orgs.org_id"))
    url: Mapped[str]
    created_at: Mapped[datetime] = now()


class GeoModel(Base):
    __tablename__ = "geo_models"
    __table_args__ = (
        CheckConstraint(EXACTLY_ONE_OWNER, name="one_owner"),
        not_blank("name"),
        Index("uq_geo_models_owner_name", text("coalesce(org_id, network_id)"), "name", unique=True),
    )
    geo_model_id: Mapped[UUID] = key()
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.org_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    name: Mapped[str]
    created_at: Mapped[datetime] = now()


class LocationRow(Base):
    __tablename__ = "locations"
    __table_args__ = (
        CheckConstraint(EXACTLY_ONE_OWNER, name="one_owner"),
        CheckConstraint("country_code ~ '^[A-Z]{2}$' AND country_code <> 'UK'", name="country_code_iso"),
        not_blank("region_name"),
        not_blank("city"),
        Index(
            "uq_locations_owner_place",
            text("coalesce(org_id, network_id)"),
            "country_code",
            text("coalesce(region_name, '')"),
            text("coalesce(city, '')"),
            unique=True,
        ),
    )
    location_id: Mapped[UUID] = key()
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.org_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    country_code: Mapped[str]
    region_name: Mapped[str | None]
    city: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class GeoQuestion(Base):
    __tablename__ = "geo_questions"
    __table_args__ = (
        CheckConstraint(EXACTLY_ONE_OWNER, name="one_owner"),
        not_blank("question_text"),
        Index(None, "org_id"),
        Index(None, "network_id"),
    )
    question_id: Mapped[UUID] = key()
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.org_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    question_text: Mapped[str]
    type: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class Schedule(Base):
    __tablename__ = "schedules"
    __table_args__ = (
        CheckConstraint(EXACTLY_ONE_OWNER, name="one_owner"),
        CheckConstraint("dow BETWEEN 0 AND 6", name="dow_range"),
        Index("uq_schedules_owner_day", text("coalesce(org_id, network_id)"), "dow", unique=True),
    )
    schedule_id: Mapped[UUID] = key()
    org_id: Mapped[UUID | None] = mapped_column(ForeignKey("orgs.org_id"))
    network_id: Mapped[UUID | None] = mapped_column(ForeignKey("networks.network_id"))
    dow: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = now()
