"""Partners, networks, orgs and what is asked for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    _partners()
    _networks()
    _orgs()
    _geo_models()
    _geo_questions()
    _locations()
    _org_websites()
    _schedules()


def _partners() -> None:
    op.create_table(
        "partners",
        sa.Column("partner_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(trim(name)) > 0", name=op.f("ck_partners_name_not_blank")),
        sa.PrimaryKeyConstraint("partner_id", name=op.f("pk_partners")),
        sa.UniqueConstraint("name", name=op.f("uq_partners_name")),
    )


def _networks() -> None:
    op.create_table(
        "networks",
        sa.Column("network_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(trim(name)) > 0", name=op.f("ck_networks_name_not_blank")),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.partner_id"], name=op.f("fk_networks_partner_id_partners")),
        sa.PrimaryKeyConstraint("network_id", name=op.f("pk_networks")),
        sa.UniqueConstraint("partner_id", "name", name=op.f("uq_networks_partner_id_name")),
    )


def _orgs() -> None:
    op.create_table(
        "orgs",
        sa.Column("org_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("network_joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_free_tier", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("spend_limit", sa.Numeric(precision=14, scale=6), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(trim(name)) > 0", name=op.f("ck_orgs_name_not_blank")),
        sa.CheckConstraint("spend_limit >= 0", name=op.f("ck_orgs_spend_limit_not_negative")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.network_id"], name=op.f("fk_orgs_network_id_networks")),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.partner_id"], name=op.f("fk_orgs_partner_id_partners")),
        sa.PrimaryKeyConstraint("org_id", name=op.f("pk_orgs")),
        sa.UniqueConstraint("partner_id", "name", name=op.f("uq_orgs_partner_id_name")),
    )
    op.create_index(op.f("ix_orgs_network_id"), "orgs", ["network_id"], unique=False)


def _geo_models() -> None:
    op.create_table(
        "geo_models",
        sa.Column("geo_model_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=True),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(org_id IS NULL) <> (network_id IS NULL)", name=op.f("ck_geo_models_one_owner")),
        sa.CheckConstraint("length(trim(name)) > 0", name=op.f("ck_geo_models_name_not_blank")),
        sa.ForeignKeyConstraint(
            ["network_id"], ["networks.network_id"], name=op.f("fk_geo_models_network_id_networks")
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_geo_models_org_id_orgs")),
        sa.PrimaryKeyConstraint("geo_model_id", name=op.f("pk_geo_models")),
    )
    op.create_index(
        "uq_geo_models_owner_name",
        "geo_models",
        [sa.literal_column("coalesce(org_id, network_id)"), "name"],
        unique=True,
    )


def _geo_questions() -> None:
    op.create_table(
        "geo_questions",
        sa.Column("question_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=True),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("question_text", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(org_id IS NULL) <> (network_id IS NULL)", name=op.f("ck_geo_questions_one_owner")),
        sa.CheckConstraint("length(trim(question_text)) > 0", name=op.f("ck_geo_questions_question_text_not_blank")),
        sa.ForeignKeyConstraint(
            ["network_id"], ["networks.network_id"], name=op.f("fk_geo_questions_network_id_networks")
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_geo_questions_org_id_orgs")),
        sa.PrimaryKeyConstraint("question_id", name=op.f("pk_geo_questions")),
    )
    op.create_index(op.f("ix_geo_questions_network_id"), "geo_questions", ["network_id"], unique=False)
    op.create_index(op.f("ix_geo_questions_org_id"), "geo_questions", ["org_id"], unique=False)


def _locations() -> None:
    op.create_table(
        "locations",
        sa.Column("location_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=True),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("region_name", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "country_code ~ '^[A-Z]{2}$' AND country_code <> 'UK'", name=op.f("ck_locations_country_code_iso")
        ),
        sa.CheckConstraint("(org_id IS NULL) <> (network_id IS NULL)", name=op.f("ck_locations_one_owner")),
        sa.CheckConstraint("length(trim(city)) > 0", name=op.f("ck_locations_city_not_blank")),
        sa.CheckConstraint("length(trim(region_name)) > 0", name=op.f("ck_locations_region_name_not_blank")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.network_id"], name=op.f("fk_locations_network_id_networks")),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_locations_org_id_orgs")),
        sa.PrimaryKeyConstraint("location_id", name=op.f("pk_locations")),
    )
    op.create_index(
        "uq_locations_owner_place",
        "locations",
        [
            sa.literal_column("coalesce(org_id, network_id)"),
            "country_code",
            sa.literal_column("coalesce(region_name, '')"),
            sa.literal_column("coalesce(city, '')"),
        ],
        unique=True,
    )


def _org_websites() -> None:
    op.create_table(
        "org_websites",
        sa.Column("website_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(trim(url)) > 0", name=op.f("ck_org_websites_url_not_blank")),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_org_websites_org_id_orgs")),
        sa.PrimaryKeyConstraint("website_id", name=op.f("pk_org_websites")),
        sa.UniqueConstraint("org_id", "url", name=op.f("uq_org_websites_org_id_url")),
    )


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("schedule_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("org_id", sa.Uuid(), nullable=True),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("dow", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(org_id IS NULL) <> (network_id IS NULL)", name=op.f("ck_schedules_one_owner")),
        sa.CheckConstraint("dow BETWEEN 0 AND 6", name=op.f("ck_schedules_dow_range")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.network_id"], name=op.f("fk_schedules_network_id_networks")),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.org_id"], name=op.f("fk_schedules_org_id_orgs")),
        sa.PrimaryKeyConstraint("schedule_id", name=op.f("pk_schedules")),
    )
    op.create_index(
        "uq_schedules_owner_day", "schedules", [sa.literal_column("coalesce(org_id, network_id)"), "dow"], unique=True
    )
