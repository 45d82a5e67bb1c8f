"""Sums that Postgres takes are those that are taken over the runs of a frame, whatever was found in the answers."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support import billing
from tests.support.readings import OWN, read_for
from tests.support.seed import seed_org
from visibility.metrics import metrics_of_sums, metrics_of_sums_by, org_metrics
from visibility.store.database import Database
from visibility.store.report_sums import ReportWindow, load_sums
from visibility.store.results import load_frame
from visibility.sums import COSTS, SUMS, rows_of_runs

DAY = date(2026, 11, 23)
KEYS = ["model", "location", "question_id"]
READING = st.fixed_dictionaries(
    {
        "rank": st.none() | st.integers(1, 12),
        "sentiment": st.sampled_from([None, "positive", "neutral", "negative"]),
        "rivals": st.lists(st.sampled_from(["Acme", "Zed", "Polar"]), unique=True, max_size=3),
        "sources": st.lists(st.sampled_from([f"{OWN}https://a.example/", "https://b.example/1"]), unique=True),
    }
)
RUN = st.fixed_dictionaries(
    {
        "answered": st.booleans(),
        "grounded": st.sampled_from([True, False, None]),
        "mentioned": st.booleans(),
        "voice": st.none() | st.floats(0, 1).map(lambda value: round(value, 3)),
        "readings": st.lists(READING, max_size=2),  # the second one is of a newer extractor
    }
)


@settings(max_examples=25)
@given(st.lists(RUN, min_size=8, max_size=8))
def test_sums_by_the_database_equal_sums_over_runs(database: Database, runs: list[dict[str, Any]]) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, questions=2, models=("chatgpt", "gemini"))
        batch_id = billing.open_batch(session, org_id, run_date=DAY)
        for run_id, run in zip(billing.runs_of(session, batch_id), runs, strict=True):
            write(session, run_id, org_id, run)
        by_sql = load_sums(session, ReportWindow("org", org_id, DAY, DAY, False), org_id)
        frame = load_frame(session, batch_id)
        session.rollback()
    by_numpy = summed(frame).reindex(pd.MultiIndex.from_frame(by_sql[KEYS]))
    assert len(by_numpy) == len(by_sql)
    np.testing.assert_allclose(by_sql[list(SUMS)].to_numpy(float), by_numpy[list(SUMS)].to_numpy(float), rtol=1e-12)
    assert [list(by_sql[name]) for name in COSTS] == [list(by_numpy[name]) for name in COSTS]
    assert_same_figures(metrics_of_sums(by_sql), org_metrics(frame))


def write(session: Session, run_id: UUID, org_id: UUID, run: dict[str, Any]) -> None:
    """Write one run as it was drawn, with up to two readings of an answered one."""
    answered = run["answered"]
    state = {"r": run_id, "s": "answered" if answered else "failed", "t": "An answer." if answered else None,
             "e": None if answered else "timeout", "g": run["grounded"], "c": Decimal("0.0015")}  # fmt: skip
    session.execute(
        text(
            "UPDATE question_runs SET status = :s, response_text = :t, error_code = :e, grounded = :g, cost_usd = :c "
            "WHERE question_run_id = :r"
        ),
        state,
    )
    for number, reading in enumerate(run["readings"] if answered else ()):
        evaluation_id = read_for(session, run_id, org_id, version=f"v{number}", **reading)
        session.execute(
            text(
                "UPDATE org_evals SET created_at = now() + make_interval(secs => :n), mentioned = :m, "
                "share_of_voice = :v, cost_usd = 0.0004 WHERE evaluation_id = :e"
            ),
            {"n": number, "m": run["mentioned"], "v": run["voice"], "e": evaluation_id},
        )


def summed(frame: pd.DataFrame) -> pd.DataFrame:
    rows = rows_of_runs(frame)
    sums = pd.DataFrame(rows.sums, columns=list(SUMS)).assign(**dict(zip(COSTS, rows.costs, strict=True)))
    return sums.assign(**{key: list(frame[key].astype(str)) for key in KEYS}).groupby(KEYS).sum()


def assert_same_figures(one: Any, other: Any) -> None:
    for left, right in zip(one.figures(), other.figures(), strict=True):
        assert (left.name, left.n, left.unit, left.left_out) == (right.name, right.n, right.unit, right.left_out)
        numbers = [np.array([figure.value, figure.low, figure.high], dtype=float) for figure in (left, right)]
        np.testing.assert_allclose(*numbers, rtol=1e-9, atol=1e-12)
    assert one.cells == other.cells
    assert one.cost_per_usable_answer == other.cost_per_usable_answer


def test_a_window_has_its_dates_and_neither_simulated_batches_nor_those_of_others(database: Database) -> None:
    with database.transaction() as session:
        org_id, other = (seed_org(session, name=name, questions=1, models=("chatgpt",)) for name in ("One", "Two"))
        for place in range(4):
            billing.open_batch(session, org_id, run_date=DAY + timedelta(days=place))
        billing.open_batch(session, other, run_date=DAY)
        session.execute(text("UPDATE evaluation_batches SET sandbox = true WHERE run_date = '2026-11-24'"))
        window = ReportWindow("org", org_id, DAY, DAY + timedelta(days=2), False)
        frame = load_sums(session, window, org_id)
    assert sorted(set(frame["run_date"])) == [DAY, DAY + timedelta(days=2)]
    assert metrics_of_sums_by(frame, "run_date")[DAY].expected == 2
