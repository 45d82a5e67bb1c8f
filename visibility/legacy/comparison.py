"""Dual run: what both systems did on the same days, per org and day, and where they are further apart than allowed.

Ours are the batches of real vendors that were not taken over from the old system.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.errors import InvalidInput
from visibility.legacy.source import LegacyDatabase
from visibility.legacy.values import FALSE_WORDS, MOST_MONEY, TRUE_WORDS

Scope = Literal["org", "member", "network"]
Verdict = Literal["equal", "within", "beyond", "only old", "only new"]
MEASURES = ("runs", "mentions", "cost", "charged")
SMALLEST: Mapping[str, Decimal] = {  # what is never too much, whatever the ratio
    "runs": Decimal(0),
    "mentions": Decimal(2),
    "cost": Decimal("0.01"),
    "charged": Decimal("0.01"),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """An org with its own questions, a network with its questions, or an org as a member of its network; one day."""

    day: date
    scope: Scope
    id: UUID


@dataclass(frozen=True, slots=True)
class Totals:
    """Answered question runs (of a member: evaluated ones), mentions, cost and charges in USD."""

    runs: Decimal = Decimal(0)
    mentions: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    charged: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far apart is still well, as ratios of the larger figure; differences of SMALLEST never count."""

    runs: float = 0.02
    mentions: float = 0.2
    cost: float = 0.1
    charged: float = 0.02


@dataclass(frozen=True, slots=True)
class Difference:
    """Both sides of one org or network and day, None on the side that has nothing. `beyond`: measures too far apart."""

    subject: Subject
    name: str
    old: Totals | None
    new: Totals | None
    beyond: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """How it stands."""
        if self.old is None or self.new is None:
            return "only new" if self.old is None else "only old"
        if self.beyond:
            return "beyond"
        return "equal" if self.old == self.new else "within"


@dataclass(frozen=True, slots=True)
class Window:
    """Which days (both included), and of which orgs (empty: all; then networks, too)."""

    since: date
    until: date
    orgs: frozenset[UUID] = field(default_factory=frozenset)

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statements want it."""
        return {"since": self.since, "until": self.until}


def compare(session: Session, source: LegacyDatabase, window: Window, tolerances: Tolerances) -> list[Difference]:
    """Return one difference per org, network and day of which either system knows something, by day and name.

    Raises InvalidInput when neither knows anything: that is no comparison.
    """
    if window.since > window.until:
        raise InvalidInput(f"--since {window.since} is after --until {window.until}.")
    old = _totals(source.query(_old_statement(source), window.parameters), window.orgs)
    new = _totals(session.execute(_NEW, window.parameters).all(), window.orgs)
    subjects = old.keys() | new.keys()
    if not subjects:
        raise InvalidInput(f"Neither system has anything from {window.since} to {window.until} of what is asked for.")
    named = session.execute(_NAMES, {"ids": [subject.id for subject in subjects]})
    names: dict[UUID, str] = {row.org_id: row.name for row in named}
    return [
        Difference(
            subject,
            names.get(subject.id, str(subject.id)),
            old.get(subject),
            new.get(subject),
            _beyond(old.get(subject), new.get(subject), tolerances),
        )
        for subject in sorted(subjects, key=lambda one: (one.day, one.scope, names.get(one.id, ""), one.id))
    ]


def summed(sides: Sequence[Totals | None]) -> Totals:
    """Return the sum of what is there."""
    return Totals(*(sum((getattr(side, name) for side in sides if side), Decimal(0)) for name in MEASURES))


def _beyond(old: Totals | None, new: Totals | None, tolerances: Tolerances) -> tuple[str, ...]:
    """A side that is missing is beyond every tolerance."""
    if old is None or new is None:
        return MEASURES
    return tuple(name for name in MEASURES if _too_far(name, getattr(old, name), getattr(new, name), tolerances))


def _too_far(measure: str, old: Decimal, new: Decimal, tolerances: Tolerances) -> bool:
    difference, largest = abs(new - old), max(abs(old), abs(new))
    return difference > SMALLEST[measure] and difference > largest * Decimal(str(getattr(tolerances, measure)))


def _totals(rows: Sequence[Any], orgs: Collection[UUID]) -> dict[Subject, Totals]:
    found = {}
    for row in rows:
        subject = Subject(row.day, row.scope, UUID(str(row.subject)))
        if not orgs or (subject.scope != "network" and subject.id in orgs):
            found[subject] = Totals(*(Decimal(str(getattr(row, name) or 0)) for name in MEASURES))
    return found


# Both sides give the same tables: batch (scope, owner, day), run, evaluation (one per run and org), call (what reading
# cost), charge. A network's own line has the cost of everything in it, a member's that of its reading.
_PER_DAY = """,
    part AS (
        SELECT batch_id, NULL AS org_id, count(*) FILTER (WHERE answered) AS asked, 0 AS evaluated, 0 AS mentions,
            sum(cost) AS cost, 0 AS charged
        FROM run GROUP BY batch_id
        UNION ALL
        SELECT batch_id, CAST(org_id AS text), 0, count(*), count(*) FILTER (WHERE mentioned), 0, 0
        FROM evaluation GROUP BY 1, 2
        UNION ALL SELECT batch_id, CAST(org_id AS text), 0, 0, 0, sum(cost), 0 FROM call GROUP BY 1, 2
        UNION ALL SELECT batch_id, CAST(org_id AS text), 0, 0, 0, 0, sum(amount) FROM charge GROUP BY 1, 2)
    SELECT day, scope, CAST(owner AS text) AS subject,
        sum(asked) AS runs, sum(mentions) AS mentions, sum(cost) AS cost, sum(charged) AS charged
    FROM batch JOIN part USING (batch_id) GROUP BY 1, 2, 3
    UNION ALL
    SELECT day, 'member', org_id, sum(evaluated), sum(mentions), sum(cost), sum(charged)
    FROM batch JOIN part USING (batch_id) WHERE scope = 'network' AND org_id IS NOT NULL GROUP BY 1, 2, 3
"""
_NAMES = text(
    """
    SELECT org_id, name FROM orgs WHERE org_id = ANY(CAST(:ids AS uuid[]))
    UNION ALL SELECT network_id, name FROM networks WHERE network_id = ANY(CAST(:ids AS uuid[]))
    """
)
_NEW = text(
    f"""
    WITH batch AS MATERIALIZED (
        SELECT batch_id, scope, coalesce(org_id, network_id) AS owner, run_date AS day FROM evaluation_batches
        WHERE run_date BETWEEN :since AND :until AND NOT sandbox AND trigger <> 'legacy'),
    run AS MATERIALIZED (
        SELECT batch_id, question_run_id, status = 'answered' AS answered, cost_usd AS cost
        FROM question_runs JOIN batch USING (batch_id)),
    evaluation AS MATERIALIZED (
        SELECT run.batch_id, found.org_id, found.mentioned
        FROM run JOIN latest_org_evals found USING (question_run_id)),
    call AS (SELECT batch_id, org_id, cost_usd AS cost FROM llm_calls JOIN batch USING (batch_id)),
    charge AS (
        SELECT batch_id, org_id, -amount AS amount FROM partner_usage_ledger JOIN batch USING (batch_id))
    {_PER_DAY}
    """
)


def _old_statement(source: LegacyDatabase) -> str:
    """The old tables in the shape of ours; of an answer that was evaluated twice for one org the newest counts.

    As for an import, what has one id is one row, a cost that can be none is 0, and a refund is known by its kind, or
    by a sign that is other than that of the answer's first entry.
    """
    return f"""
        WITH batch AS MATERIALIZED (
            SELECT DISTINCT ON (batch_id) * FROM ({_old_batches(source)}) AS every
            WHERE day BETWEEN :since AND :until ORDER BY batch_id, day),
        run AS MATERIALIZED (
            SELECT DISTINCT ON (question_run_id) batch_id, question_run_id, answered, cost FROM (
                SELECT CAST(batch_id AS text) AS batch_id, CAST(question_run_id AS text) AS question_run_id,
                    coalesce(trim(CAST(response_text AS text)), '') <> '' AS answered, {_COST} AS cost
                FROM ({source.select("question_runs")}) AS runs) AS every
            JOIN batch USING (batch_id) ORDER BY question_run_id, answered DESC),
        call AS MATERIALIZED (
            SELECT DISTINCT ON (id) run.batch_id, every.* FROM ({_old_evaluations(source)}) AS every
            JOIN run ON run.question_run_id = every.run_id ORDER BY id, made DESC),
        evaluation AS (
            SELECT DISTINCT ON (run_id, org_id) batch_id, org_id, mentioned FROM call
            ORDER BY run_id, org_id, made DESC),
        entry AS (
            SELECT DISTINCT ON (id) run.batch_id, every.* FROM (
                SELECT CAST(entry_id AS text) AS id, CAST(question_run_id AS text) AS run_id,
                    CAST(org_id AS text) AS org_id, lower(CAST(kind AS text)) AS kind, created_at AS made,
                    {_amount("amount")} AS amount
                FROM ({source.select("ledger")}) AS given) AS every
            JOIN run ON run.question_run_id = every.run_id ORDER BY id),
        charge AS (
            SELECT batch_id, org_id, CASE
                WHEN kind = 'refund' THEN -1 WHEN kind = 'charge' THEN 1
                WHEN (amount < 0) <> (first_value(amount) OVER (PARTITION BY run_id, org_id ORDER BY made, id) < 0)
                THEN -1 ELSE 1 END * abs(amount) AS amount
            FROM entry)
        {_PER_DAY}
    """


def _amount(column: str) -> str:
    """What is no amount of money (NaN is the largest of all numbers) is 0."""
    number = f"CAST({column} AS numeric)"
    return f"CASE WHEN abs({number}) < {MOST_MONEY} THEN {number} ELSE 0 END"


_COST = f"greatest({_amount('cost_usd')}, 0)"


def _old_batches(source: LegacyDatabase) -> str:
    return " UNION ALL ".join(
        f"SELECT '{scope}' AS scope, CAST(batch_id AS text) AS batch_id, CAST(owner_id AS text) AS owner, "
        "coalesce(CAST(run_date AS date), CAST(created_at AS date)) AS day "
        f"FROM ({source.select(f'{scope}_batches')}) AS {scope}_batches"
        for scope in ("org", "network")
    )


def _old_evaluations(source: LegacyDatabase) -> str:
    return " UNION ALL ".join(
        "SELECT CAST(evaluation_id AS text) AS id, CAST(question_run_id AS text) AS run_id, "
        f"CAST(org_id AS text) AS org_id, coalesce({_flag('mentioned')}, "
        "coalesce(trim(CAST(mention_text AS text)), '') <> '') AS mentioned, "
        f"{_COST} AS cost, CAST(created_at AS timestamp) AS made "
        f"FROM ({source.select(name)}) AS {name}"
        for name in ("evaluations", "network_evaluations")
    )


def _flag(column: str) -> str:
    """True or false, also where it is written in words, as values.flag reads it."""
    word = f"lower(trim(CAST({column} AS text)))"
    return f"CASE WHEN {word} IN {TRUE_WORDS} THEN true WHEN {word} IN {FALSE_WORDS} THEN false END"
