"""What orgs and networks own in the old system: websites, models, locations, questions, schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from visibility.legacy.report import Report
from visibility.legacy.source import Row
from visibility.legacy.tenants import Tenants, checked, meant
from visibility.legacy.values import Refused, an_id, moment, tags, words
from visibility.legacy.writing import Columns, put, put_list
from visibility.store.tables import GeoModel, GeoQuestion, LocationRow, OrgWebsite, Schedule
from visibility.store.tenant_file import LocationEntry, OrgEntry, QuestionEntry

UNKNOWN = datetime.fromtimestamp(0, UTC)  # the same in every import


def write_lists(session: Session, owner: Columns, tenants: Tenants, report: Report) -> None:
    """Write what one org or network owns; a table that the old system does not have leaves ours alone."""
    (owner_id,) = owner.values()
    rows = {name: tenants.lists[name].get(owner_id, []) for name in tenants.given_lists}
    for name, (table, convert) in CONVERTERS.items():
        if name in rows and (name != "websites" or "org_id" in owner):
            put_list(
                session, table, owner, _distinct(report, table.__tablename__, owner_id, rows[name], convert), report
            )
    if "questions" in rows:
        _write_questions(session, owner, _questions(report, owner, rows["questions"]), report)


def _distinct(
    report: Report, table: str, owner_id: UUID, rows: Sequence[Row], convert: Callable[[Row, Report], Columns]
) -> list[Columns]:
    """Convert rows; what is refused or stands twice is reported."""
    found: dict[tuple[object, ...], Columns] = {}
    for row in rows:
        try:
            made = convert(row, report)
        except Refused as error:
            report.skip(table, f"of {owner_id}", error.message)
            continue
        if tuple(made.values()) in found:
            report.repeat(
                table, f"of {owner_id}", f"{', '.join(str(part) for part in made.values() if part)} stands twice"
            )
        found[tuple(made.values())] = made
    return list(found.values())


def _website(row: Row, report: Report) -> Columns:
    return {"url": (checked(OrgEntry, name="any", websites=[words(row, "url") or ""]).websites or [""])[0]}


def _model(row: Row, report: Report) -> Columns:
    return {"name": (checked(OrgEntry, name="any", models=[words(row, "name") or ""]).models or [""])[0]}


def _schedule(row: Row, report: Report) -> Columns:
    return {"dow": (checked(OrgEntry, name="any", schedule=[row["dow"]]).schedule or [0])[0]}


def location(row: Row, report: Report) -> Columns:
    """Return where a question is asked from; raises Refused for an unknown country."""
    place = checked(
        LocationEntry,
        country=words(row, "country_code") or "",
        region=words(row, "region_name"),
        city=words(row, "city"),
    )
    region, city = (part and meant(part, "locations", row, report) for part in (place.region, place.city))
    return {"country_code": place.country, "region_name": region, "city": city}


CONVERTERS = {
    "websites": (OrgWebsite, _website),
    "models": (GeoModel, _model),
    "locations": (LocationRow, location),
    "schedules": (Schedule, _schedule),
}


def _questions(report: Report, owner: Columns, rows: Sequence[Row]) -> list[Columns]:
    """Keep every question, since answers refer to them; of two with the same text the second is deleted here."""
    made: dict[UUID, Columns] = {}
    for row in sorted(rows, key=lambda row: (str(row["created_at"]), str(row["question_id"]))):
        try:
            question = _question(row, report)
        except Refused as error:
            report.skip("geo_questions", row["question_id"], error.message)
            continue
        if question["question_id"] in made:
            report.repeat("geo_questions", row["question_id"], "the old system has it twice; the first is taken")
            continue
        made[question["question_id"]] = owner | question
    _asked_once(report, list(made.values()))
    return list(made.values())


def _question(row: Row, report: Report) -> Columns:
    entry = checked(QuestionEntry, text=words(row, "question_text") or "", type=words(row, "type"), tags=tags(row))
    return {
        "question_id": an_id(row, "question_id"),
        "question_text": meant(entry.text, "geo_questions", row, report),
        "type": entry.type,
        "tags": entry.tags,
        "deleted_at": moment(row, "deleted_at"),
        "created_at": moment(row, "created_at"),
    }


def _asked_once(report: Report, questions: list[Columns]) -> None:
    asked: set[str] = set()
    for question in questions:
        folded = question["question_text"].casefold()
        if question["deleted_at"] is None and folded in asked:
            report.note("geo_questions", question["question_id"], "its text stands twice; it is taken as deleted")
            question["deleted_at"] = question["created_at"] or UNKNOWN
        if question["deleted_at"] is None:
            asked.add(folded)


def _write_questions(session: Session, owner: Columns, questions: list[Columns], report: Report) -> None:
    """A question that has left the old system is not asked any more, but stays for its answers."""
    put(session, GeoQuestion, questions, report, only_new=("created_at",))
    kept = {question["question_id"] for question in questions}
    now = session.scalar(select(func.now()))
    for row in session.scalars(select(GeoQuestion).filter_by(**owner, deleted_at=None)):
        if row.question_id not in kept:
            row.deleted_at = now
            report.counts("geo_questions").removed += 1
