"""Read a report's content from the database, in one snapshot of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.orm import Session

from visibility.changes import changes
from visibility.domain import name_key
from visibility.domains import is_shared_host
from visibility.metrics import PAIRS, OrgMetrics, cost_figure, metrics_of_sums, metrics_of_sums_by
from visibility.report.content import Member, ModelsChange, Named, Report, Slice
from visibility.store import report_lists as lists
from visibility.store.networks import load_network
from visibility.store.orgs import load_org
from visibility.store.report_lists import Spent
from visibility.store.report_sums import (
    AskedQuestion,
    Reader,
    ReportWindow,
    load_failures,
    load_other_origin,
    load_questions,
    load_readers,
    load_sums,
)
from visibility.sums import SUMS

if TYPE_CHECKING:
    import pandas as pd

LISTED_BRANDS, LISTED_DOMAINS, LISTED_PASSAGES = 20, 20, 40
NOBODY = UUID(int=0)  # for whom nothing was read: of a network without members only the answers count
NO_TAG = "(no tag)"
OF_RUNS = ("expected", "answered")  # the same for every member; all other sums add up over the members
BREAKDOWNS: dict[str, tuple[str, ...]] = {
    "date": ("run_date",),
    "date and model": ("run_date", "model"),
    "model": ("model",),
    "location": ("location",),
    "question": ("question_id",),
    "question and model": ("question_id", "model"),
    "tag": ("tag",),
}

Told = Callable[[int, int], None]
"""Is told how many of how many orgs have been counted."""


def see_one_moment(session: Session) -> None:
    """Let every statement of the transaction see the database as it is now; must come before the first one."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})


def readers_of(session: Session, window: ReportWindow) -> tuple[str, list[Reader]]:
    """Return the name of the window's owner, and the orgs that its answers are read for.

    Raises InvalidInput for an unknown or deleted owner.
    """
    if window.scope == "org":
        org = load_org(session, window.owner_id)
        return org.name, [Reader(org.org_id, org.name, False)]
    return load_network(session, window.owner_id).name, load_readers(session, window)


def collect(
    session: Session, window: ReportWindow, made_at: datetime, told: Told = lambda done, of: None
) -> tuple[Report, list[Reader]]:
    """Return the report and the orgs that it is about. Raises InvalidInput for an unknown owner."""
    owner_name, readers = readers_of(session, window)
    pairs = window.scope == "network"
    frame, members = _counted(session, window, readers, told)
    questions = load_questions(session, window)
    spent = lists.load_spent(session, window)
    report = Report(
        window=window,
        owner_name=owner_name,
        made_at=made_at,
        versions=tuple(sorted(set().union(*frame["versions"]))),
        other_origin=load_other_origin(session, window),
        dates=tuple(sorted(set(frame["run_date"]))),
        models=_models(frame),
        questions=tuple(questions),
        overall=_with_costs(metrics_of_sums(frame, pairs=pairs), spent, pairs),
        slices=tuple(_slices(frame, questions, pairs)),
        changes=tuple(_changes(frame, pairs)),
        failures=load_failures(session, window),
        spent=spent,
        named=_named(session, window, readers),
        members=tuple(sorted(members, key=_place)) if pairs else (),
    )
    return report, readers


def _counted(
    session: Session, window: ReportWindow, readers: Sequence[Reader], told: Told
) -> tuple[pd.DataFrame, list[Member]]:
    """Return the sums over all orgs, and each org's figures; one org's rows are in memory at a time."""
    total: pd.DataFrame | None = None
    members = []
    for number, reader in enumerate(readers, 1):
        frame = load_sums(session, window, reader.org_id)
        if window.scope == "network":
            members.append(_member(reader, frame))
        total = frame if total is None else _added(total, frame)
        told(number, len(readers))
    return load_sums(session, window, NOBODY) if total is None else total, members


def _added(total: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Add the sums of another org over the same answers, whose rows are the same in number and order."""
    names = [name for name in SUMS if name not in OF_RUNS]
    both = zip(total["versions"], frame["versions"], strict=True)
    sums = total.assign(**{name: total[name] + frame[name] for name in names})
    sums["versions"] = [old if old == new else tuple(sorted({*old, *new})) for old, new in both]
    return sums


def _member(reader: Reader, frame: pd.DataFrame) -> Member:
    by_model = metrics_of_sums_by(frame, "model")
    slices = tuple(Slice("model", (str(model),), metrics) for model, metrics in by_model.items())
    return Member(reader.org_id, reader.name, reader.left, metrics_of_sums(frame), slices)


def _place(member: Member) -> tuple[float, float, str]:
    """Sort by mention rate, then average rank, then name; those without an evaluation come last."""
    rate, rank = member.overall.mention_rate.value, member.overall.average_rank.value
    return (inf if rate is None else -rate, inf if rank is None else rank, member.name)


def _with_costs(metrics: OrgMetrics, spent: Spent, pairs: bool) -> OrgMetrics:
    """Replace the costs by what was spent in all, also on readings that newer ones have replaced."""
    total, coverage = spent.answers_usd + spent.reading_usd, metrics.coverage.value
    mentions, naming = metrics.cells.both + metrics.cells.named_only, PAIRS if pairs else "answers"
    return replace(
        metrics,
        cost_per_usable_answer=cost_figure(
            "cost_per_usable_answer", total, metrics.answered, "usable answers", coverage
        ),
        cost_per_mention=cost_figure("cost_per_mention", total, mentions, f"{naming} naming the org", coverage),
    )


def _slices(frame: pd.DataFrame, questions: Sequence[AskedQuestion], pairs: bool) -> Iterator[Slice]:
    asked = {question.question_id: question for question in questions}
    places = {question.question_id: place for place, question in enumerate(questions)}
    tags = frame["question_id"].map(lambda question: asked[question].tags or (NO_TAG,))
    tagged = frame.assign(tag=tags)
    for breakdown, columns in BREAKDOWNS.items():
        rows = tagged.explode("tag") if breakdown == "tag" else tagged
        found = _sliced(rows, breakdown, columns, asked, pairs)
        yield from sorted(found, key=lambda one: places[one.question.question_id] if one.question else 0)


def _sliced(
    rows: pd.DataFrame, breakdown: str, columns: tuple[str, ...], asked: dict[str, AskedQuestion], pairs: bool
) -> Iterator[Slice]:
    models: dict[Hashable, Any] = rows.groupby([*columns])["model"].unique().to_dict()
    for key, metrics in metrics_of_sums_by(rows, *columns, pairs=pairs).items():
        values = dict(zip(columns, key if isinstance(key, tuple) else (key,), strict=True))
        yield Slice(
            breakdown,
            tuple(sorted(models[key])),
            metrics,
            run_date=values.get("run_date"),
            location=values.get("location"),
            question=asked[values["question_id"]] if "question_id" in values else None,
            tag=values.get("tag"),
        )


def _changes(frame: pd.DataFrame, pairs: bool) -> Iterator[ModelsChange]:
    """Compare the last two dates, over all models together and then over each; nothing with one date."""
    dates = sorted(set(frame["run_date"]))[-2:]
    if len(dates) < 2:
        return
    models = _models(frame[frame["run_date"].isin(dates)])
    for group in [models, *([(model,) for model in models] if len(models) > 1 else [])]:
        for change in changes(frame[frame["model"].isin(group)], *dates, pairs=pairs):
            yield ModelsChange(group, change)


def _models(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(set(frame["model"])))


def _named(session: Session, window: ReportWindow, readers: Sequence[Reader]) -> Named:
    org_ids, keys = [reader.org_id for reader in readers], [name_key(reader.name) for reader in readers]
    domains = lists.top_domains(session, window, org_ids, LISTED_DOMAINS)
    return Named(
        read=lists.count_read(session, window, org_ids),
        brands=tuple(lists.top_brands(session, window, org_ids, keys, LISTED_BRANDS)),
        domains=tuple(replace(one, own=one.own and not is_shared_host(one.domain)) for one in domains),
        citations=lists.count_citations(session, window, org_ids),
        passages=tuple(lists.latest_passages(session, window, org_ids, LISTED_PASSAGES)),
    )
