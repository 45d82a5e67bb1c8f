"""Who is scheduled on which weekday, how much is asked for them, and how far the batches of a day have come.

Weekdays are those of Python, 0 is Monday. Every reading is one statement, however many orgs there are; it looks owners
up by index and never reads the history of batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.billing.pricing import PricingConfig
from visibility.domain import Member, Scope
from visibility.store.batches import PERMANENT_ERRORS
from visibility.store.networks import DEFAULT_MODELS
from visibility.store.orgs import DEFAULT_LOCATION

State = Literal["none", "open", "done"]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An org or a network that is scheduled on a day, and its batch of that date.

    `expected` counts the answers of its manifest as configured now, `to_ask` those of them that are still to be asked
    and those that an earlier manifest of the day has left. `state`: none, there is no batch yet; open, it has not
    completed or has work left; done, it is completed with nothing to ask, to read or to charge. `status` and `error`
    are those of the batch, `models` those that are asked now, `members` those of a network, by name.
    """

    owner_id: UUID
    scope: Scope
    name: str
    partner_id: UUID
    is_free_tier: bool
    expected: int
    to_ask: int
    state: State
    batch_id: UUID | None
    status: str | None = None
    error: str | None = None
    models: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class WeeklyPlan:
    """An org or a network with all weekdays of its schedule; `expected` counts the answers of one day.

    `readers`: for how many orgs each answer is evaluated, the members of a network or the org itself.
    """

    owner_id: UUID
    scope: Scope
    name: str
    partner_id: UUID
    is_free_tier: bool
    days: tuple[int, ...]
    expected: int
    readers: int


@dataclass(frozen=True, slots=True)
class DayLoad:
    """What is scheduled on one weekday."""

    dow: int
    orgs: int = 0
    networks: int = 0
    expected: int = 0


def scheduled_orgs(
    session: Session, run_date: date, *, extractor_version: str, max_attempts: int, replicates: int = 1
) -> list[Scheduled]:
    """Return the orgs, not deleted, whose schedules have the weekday of `run_date`, by name."""
    return _scheduled(session, "org", run_date, extractor_version, max_attempts, replicates)


def scheduled_networks(
    session: Session, run_date: date, *, extractor_version: str, max_attempts: int, replicates: int = 1
) -> list[Scheduled]:
    """Return the networks, not deleted, whose schedules have the weekday of `run_date`, by name.

    A network's batch is done when its answers are read and charged for every present member as well.
    """
    return _scheduled(session, "network", run_date, extractor_version, max_attempts, replicates)


def scheduled_ids(session: Session, scope: Scope, run_date: date) -> list[UUID]:
    """Return the ids of the orgs or networks, also deleted ones, whose schedules have the weekday of `run_date`."""
    return list(session.execute(_SCHEDULED_IDS[scope], {"dow": run_date.weekday()}).scalars())


def weekly_plans(session: Session, *, replicates: int = 1) -> list[WeeklyPlan]:
    """Return every org and network, not deleted, that has a schedule, by name; orgs first."""
    return [
        WeeklyPlan(**{**row._mapping, "days": tuple(row.days)}, scope=scope)
        for scope in _SCOPES
        for row in session.execute(_WEEKLY[scope], _asked_parameters(scope, replicates))
    ]


def weekly_load(session: Session, *, replicates: int = 1) -> list[DayLoad]:
    """Count orgs, networks and expected answers per weekday, Monday first, also of days without any."""
    return loads_of(weekly_plans(session, replicates=replicates))


def loads_of(plans: Sequence[WeeklyPlan]) -> list[DayLoad]:
    """Count the plans of each of the seven weekdays."""
    days: list[list[WeeklyPlan]] = [[] for _ in range(7)]
    for plan in plans:
        for dow in plan.days:
            days[dow].append(plan)
    return [
        DayLoad(
            dow=dow,
            orgs=sum(plan.scope == "org" for plan in of_day),
            networks=sum(plan.scope == "network" for plan in of_day),
            expected=sum(plan.expected for plan in of_day),
        )
        for dow, of_day in enumerate(days)
    ]


def partner_pricing(session: Session) -> dict[UUID, PricingConfig]:
    """Return what each partner with a pricing config pays for a question run; the others pay the usual price."""
    rows = session.execute(_PRICING)
    return {
        row.partner_id: PricingConfig(row.name, row.fixed_price, row.margin_pct, row.share_answer_cost) for row in rows
    }


def _scheduled(
    session: Session, scope: Scope, run_date: date, extractor_version: str, max_attempts: int, replicates: int
) -> list[Scheduled]:
    rows = session.execute(
        _SCHEDULED[scope],
        {
            **_asked_parameters(scope, replicates),
            "scope": scope,
            "dow": run_date.weekday(),
            "run_date": run_date,
            "version": extractor_version,
            "max_attempts": max_attempts,
            "permanent": list(PERMANENT_ERRORS),
        },
    )
    return [_scheduled_owner(scope, row) for row in rows]


def _scheduled_owner(scope: Scope, row: Any) -> Scheduled:
    done = row.status == "completed" and not (row.to_ask or row.unread or row.uncharged)
    state: State = "none" if row.batch_id is None else "done" if done else "open"
    members = tuple(Member(UUID(org_id), name) for org_id, name in row.members)
    return Scheduled(
        owner_id=row.owner_id,
        scope=scope,
        name=row.name,
        partner_id=row.partner_id,
        is_free_tier=row.is_free_tier,
        expected=row.expected,
        to_ask=row.to_ask,
        state=state,
        batch_id=row.batch_id,
        status=row.status,
        error=row.error,
        models=tuple(row.models),
        members=members,
    )


def _asked_parameters(scope: Scope, replicates: int) -> dict[str, Any]:
    """Return what an owner without models or locations is asked with: only networks have models by default."""
    place = (DEFAULT_LOCATION.country_code, DEFAULT_LOCATION.region_name or "", DEFAULT_LOCATION.city or "")
    return {
        "default_models": list(DEFAULT_MODELS) if scope == "network" else [],
        "default_places": ["\x1f".join(place)],
        "replicates": replicates,
    }


_PRESENT = "SELECT {what} FROM orgs member WHERE member.network_id = asker.network_id AND member.deleted_at IS NULL"
_PLACE = "concat_ws(chr(31), {row}.country_code, coalesce({row}.region_name, ''), coalesce({row}.city, ''))"
# Per scope: the table, its key, for whom each answer is read, and the columns that only one of the two has.
_SCOPES: dict[Scope, dict[str, str]] = {
    "org": {
        "table": "orgs",
        "key": "org_id",
        "is_free_tier": "asker.is_free_tier",
        "members": "'[]'::json",
        "readers": "1",
        "reader_ids": "SELECT asker.org_id",
    },
    "network": {
        "table": "networks",
        "key": "network_id",
        "is_free_tier": "false",
        "members": "({})".format(
            _PRESENT.format(
                what="coalesce(json_agg(json_build_array(member.org_id, member.name) ORDER BY member.name), '[]')"
            )
        ),
        "readers": "({})".format(_PRESENT.format(what="count(*)")),
        "reader_ids": _PRESENT.format(what="member.org_id"),
    },
}
# What is asked for one owner. By coalesce, which is what the unique indexes of models and locations begin with;
# aggregates in a LATERAL keep the planner from joining whole tables.
_ASKED = f"""
    CROSS JOIN LATERAL (
        SELECT
            ARRAY(SELECT question_id FROM geo_questions question
                  WHERE question.{{key}} = asker.{{key}} AND question.deleted_at IS NULL) AS questions,
            coalesce((SELECT array_agg(model.name) FROM geo_models model
                      WHERE coalesce(model.org_id, model.network_id) = asker.{{key}}),
                     CAST(:default_models AS text[])) AS models,
            coalesce((SELECT array_agg({_PLACE.format(row="location")}) FROM locations location
                      WHERE coalesce(location.org_id, location.network_id) = asker.{{key}}),
                     CAST(:default_places AS text[])) AS places,
            {{readers}} AS readers
        OFFSET 0) asked
    CROSS JOIN LATERAL (
        SELECT CASE WHEN asked.readers = 0 THEN 0 ELSE cardinality(asked.questions) * cardinality(asked.models)
            * cardinality(asked.places) * CAST(:replicates AS integer) END AS expected) manifest
"""
_OWNER = "asker.{key} AS owner_id, asker.name, asker.partner_id, {is_free_tier} AS is_free_tier"
# What a batch still has to do, counted from its own runs; only a completed one can have nothing left, and only its
# answers are looked up among evaluations. A charge is made for an answer that is evaluated, once per reader: where all
# are evaluated, as many are uncharged as there are charges missing, and those are counted in one look per batch.
_WORK = f"""
    LEFT JOIN LATERAL (
        SELECT batch_id, status, error FROM evaluation_batches found
        WHERE found.scope = :scope AND coalesce(found.org_id, found.network_id) = asker.{{key}}
          AND found.run_date = :run_date
        LIMIT 1) batch ON true
    LEFT JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE run.status IN ('pending', 'asked')
                OR run.status = 'failed' AND run.attempts < :max_attempts
                   AND run.error_code <> ALL(:permanent)) AS unfinished,
            count(*) FILTER (
                WHERE run.question_id = ANY(asked.questions) AND run.model = ANY(asked.models)
                  AND {_PLACE.format(row="run")} = ANY(asked.places) AND run.replicate <= :replicates) AS written,
            count(*) FILTER (WHERE run.status = 'answered') AS answered,
            coalesce(sum(read.unread), 0) AS unread
        FROM question_runs run
        LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE evaluation.found IS NULL) AS unread
            FROM ({{reader_ids}}) AS reader (org_id)
            LEFT JOIN LATERAL (
                SELECT true AS found FROM org_evals
                WHERE question_run_id = run.question_run_id AND org_id = reader.org_id AND extractor_version = :version
                LIMIT 1) evaluation ON true
        ) read ON batch.status = 'completed' AND run.status = 'answered'
        WHERE run.batch_id = batch.batch_id) work ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS entries FROM partner_usage_ledger entry
        WHERE entry.batch_id = batch.batch_id AND entry.kind = 'charge' AND entry.source_type = 'question_run'
          AND entry.org_id IN ({{reader_ids}})) charged ON batch.status = 'completed'
"""
_SCHEDULED = {
    scope: text(
        f"""
        SELECT {_OWNER}, {{members}} AS members, asked.models, manifest.expected,
            batch.batch_id, batch.status, batch.error,
            greatest(manifest.expected - work.written, 0) + work.unfinished AS to_ask, work.unread,
            work.answered * asked.readers > charged.entries AS uncharged
        FROM schedules schedule JOIN {{table}} asker ON asker.{{key}} = schedule.{{key}}
        {_ASKED} {_WORK}
        WHERE schedule.dow = :dow AND asker.deleted_at IS NULL
        ORDER BY asker.name, asker.{{key}}
        """.format(**columns)
    )
    for scope, columns in _SCOPES.items()
}
_SCHEDULED_IDS = {
    scope: text("SELECT {key} FROM schedules WHERE dow = :dow AND {key} IS NOT NULL".format(**columns))
    for scope, columns in _SCOPES.items()
}
_WEEKLY = {
    scope: text(
        f"""
        SELECT {_OWNER}, schedule.days, manifest.expected, asked.readers
        FROM (SELECT {{key}}, array_agg(dow ORDER BY dow) AS days FROM schedules
              WHERE {{key}} IS NOT NULL GROUP BY {{key}}) schedule
        JOIN {{table}} asker ON asker.{{key}} = schedule.{{key}}
        {_ASKED}
        WHERE asker.deleted_at IS NULL
        ORDER BY asker.name, asker.{{key}}
        """.format(**columns)
    )
    for scope, columns in _SCOPES.items()
}
_PRICING = text(
    """
    SELECT partner_id, name, fixed_price, margin_pct, share_answer_cost
    FROM pricing_configs JOIN partners USING (partner_id) WHERE action = 'question_run'
    """
)
