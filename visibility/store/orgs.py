"""Reading one organisation with everything its evaluation needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.domain import Location, Org, Question
from visibility.errors import InvalidInput

DEFAULT_LOCATION = Location("US")


def load_org(session: Session, org_id: UUID) -> Org:
    """Return the org, in one statement; without locations it is asked about from the US.

    Raises InvalidInput for an id that is unknown or deleted. No models or no questions is no error.
    """
    row = session.execute(_ORG, {"org_id": org_id}).one_or_none()
    if row is None:
        raise InvalidInput(f"There is no organisation {org_id}.")
    if row.deleted_at is not None:
        raise InvalidInput(f"There is no organisation {org_id}: it was deleted on {row.deleted_at:%Y-%m-%d}.")
    return _org(row)


def load_orgs(session: Session, org_ids: Collection[UUID]) -> list[Org]:
    """Return those of the orgs that exist, in no order, in one statement for any number of them."""
    rows = session.execute(_ORGS, {"org_ids": list(org_ids)})
    return [_org(row) for row in rows if row.deleted_at is None]


def _org(row: Row[Any]) -> Org:
    return Org(
        org_id=row.org_id,
        partner_id=row.partner_id,
        network_id=row.network_id,
        name=row.name,
        is_free_tier=row.is_free_tier,
        spend_limit=row.spend_limit,
        websites=tuple(row.websites),
        models=tuple(row.models),
        locations=as_locations(row.locations),
        questions=as_questions(row.questions),
        network_joined_at=row.network_joined_at,
    )


def asker_columns(owner: str) -> str:
    """Return the SQL of an asker's models, locations and questions; `owner` is the key column of `asker`.

    `coalesce(org_id, network_id)` is what the unique indexes of models and locations begin with.
    """
    return f"""
        ARRAY(SELECT name FROM geo_models
              WHERE coalesce(org_id, network_id) = asker.{owner} ORDER BY created_at, name) AS models,
        (SELECT coalesce(json_agg(json_build_array(country_code, region_name, city)
                                  ORDER BY created_at, country_code, region_name, city), '[]')
         FROM locations WHERE coalesce(org_id, network_id) = asker.{owner}) AS locations,
        (SELECT coalesce(json_agg(json_build_array(question_id, question_text)
                                  ORDER BY created_at, question_text), '[]')
         FROM geo_questions WHERE {owner} = asker.{owner} AND deleted_at IS NULL) AS questions
    """


def as_locations(places: Sequence[Sequence[str]]) -> tuple[Location, ...]:
    """Return the locations of an asker's row; an asker without any asks from the US."""
    return tuple(Location(*place) for place in places) or (DEFAULT_LOCATION,)


def as_questions(questions: Sequence[tuple[str, str]]) -> tuple[Question, ...]:
    """Return the questions of an asker's row."""
    return tuple(Question(UUID(question_id), question) for question_id, question in questions)


_LOAD = f"""
    SELECT org_id, partner_id, network_id, network_joined_at, name, is_free_tier, spend_limit, deleted_at,
        ARRAY(SELECT url FROM org_websites WHERE org_id = asker.org_id ORDER BY created_at, url) AS websites,
        {asker_columns("org_id")}
    FROM orgs AS asker
"""
_ORG = text(f"{_LOAD} WHERE org_id = :org_id")
_ORGS = text(f"{_LOAD} WHERE org_id = ANY(:org_ids)")
