"""Which evaluations are replayed, how versions are compared, and that a replay never makes a second charge."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support.billing import answer, evaluate, hold_default, ledger, open_batch, open_network_batch, runs_of
from tests.support.seed import seed_network, seed_org
from visibility.billing.settlement import settle
from visibility.errors import InvalidInput
from visibility.reevaluation import ReevaluationSummary, drift_of, note_of, open_replay, summarise_replay, window_of
from visibility.store.database import Database
from visibility.store.reevaluation import EvaluatedOrg, OutdatedBatch, Window, compare, find_outdated

DAY = date(2025, 11, 23)
OWN = {"questions": 2, "models": ("chatgpt",), "locations": (("US", None, None),)}


def window(owner_id: UUID, scope: Any = "org", **changes: Any) -> Window:
    values = {"since": None, "until": None, "today": DAY, "sandbox": False, "version": "v2", **changes}
    return window_of(scope, owner_id, values.pop("since"), values.pop("until"), **values)


def answered(session: Session, org_id: UUID, day: date = DAY) -> UUID:
    batch_id = open_batch(session, org_id, run_date=day)
    answer(session, batch_id)
    return batch_id


def found(session: Session, run_id: UUID, org_id: UUID, version: str, **values: Any) -> None:
    """Write one evaluation; `second` orders them in time."""
    row = {"mentioned": True, "reason": "verified", "sentiment": "neutral", "sov": 0.5, "second": 0, **values}
    session.execute(
        text(
            """
            INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason, sentiment,
                share_of_voice, created_at)
            VALUES (:r, :o, :v, :mentioned, :reason, :sentiment, :sov, now() + make_interval(secs => :second))
            """
        ),
        {"r": run_id, "o": org_id, "v": version, **row},
    )


def test_only_answers_that_another_version_has_read_are_replayed(database: Database) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, **OWN)
        batch_id = answered(session, org_id)
        evaluate(session, batch_id, org_id, limit=1)
        (old_run,) = find_outdated(session, window(org_id), org_id)[0].run_ids
        assert find_outdated(session, window(org_id), org_id) == [OutdatedBatch(batch_id, (old_run,))]
        evaluate(session, batch_id, org_id, version="v2")
        assert find_outdated(session, window(org_id), org_id) == []
        assert open_replay(session, window(org_id)).orgs == (EvaluatedOrg(org_id, "Northwind Heating", 0, 2),)


@pytest.mark.parametrize(
    ("changes", "batches"),
    [
        ({}, 2),
        ({"since": DAY}, 1),
        ({"until": DAY - timedelta(days=1)}, 2),
        ({"since": DAY - timedelta(days=31)}, 3),
        ({"sandbox": True}, 0),
        ({"version": "v1"}, 0),
    ],
)
def test_the_window_and_the_origin_decide_which_batches(
    database: Database, changes: dict[str, Any], batches: int
) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, **OWN)
        for back in (0, 30, 31):
            batch_id = answered(session, org_id, DAY - timedelta(days=back))
            evaluate(session, batch_id, org_id)
        assert len(find_outdated(session, window(org_id, **changes), org_id)) == batches


def test_a_window_that_ends_before_it_begins_and_unknown_owners_are_refused(database: Database) -> None:
    with pytest.raises(InvalidInput, match="ends on 2025-11-22, before it begins on 2025-11-23"):
        window(uuid4(), since=DAY, until=DAY - timedelta(days=1))
    with database.transaction() as session:
        with pytest.raises(InvalidInput, match="no organisation"):
            open_replay(session, window(uuid4()))
        with pytest.raises(InvalidInput, match="no network"):
            open_replay(session, window(uuid4(), "network"))


def test_a_network_replays_for_members_that_have_left_and_leaves_their_own_questions_alone(database: Database) -> None:
    with database.transaction() as session:
        network_id = seed_network(session, questions=2)
        orgs = [seed_org(session, name=name, network_id=network_id, **OWN) for name in ("Ashford", "Birch", "Cedar")]
        batch_id = open_network_batch(session, network_id)
        answer(session, batch_id)
        for org_id in orgs[:2]:
            evaluate(session, batch_id, org_id)
            evaluate(session, answered(session, org_id), org_id)
        session.execute(text("UPDATE orgs SET network_id = NULL WHERE org_id = :o"), {"o": orgs[0]})
        replay = open_replay(session, window(network_id, "network"))
        assert [(org.name, org.outdated, org.current) for org in replay.orgs] == [("Ashford", 2, 0), ("Birch", 2, 0)]
        assert [batch.batch_id for batch in find_outdated(session, replay.window, orgs[0])] == [batch_id]


def test_the_newest_old_evaluation_is_compared_with_the_new_one(database: Database) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, **{**OWN, "questions": 4})
        lost, gained, changed, unread = runs_of(session, answered(session, org_id))
        found(session, lost, org_id, "v0", mentioned=False, second=-9)
        found(session, lost, org_id, "v1", sov=0.4)
        found(session, lost, org_id, "v2", mentioned=False, reason="not_verified", sentiment=None, sov=0.0, second=1)
        found(session, gained, org_id, "v1", mentioned=False, reason="name_absent", sentiment=None, sov=0.0)
        found(session, gained, org_id, "v2", sov=0.1, second=1)
        found(session, changed, org_id, "v1", sov=0.3)
        found(session, changed, org_id, "v2", sentiment="negative", sov=None, second=-1)
        found(session, unread, org_id, "v0")
        compared = compare(session, window(org_id))
        note = note_of(open_replay(session, window(org_id)), compared)
    assert note == "readers see another version's later findings instead of 1 current ones"
    assert (compared.pairs, compared.gained, compared.lost, compared.mentioned_twice) == (3, 1, 1, 1)
    assert compared.old_versions == {"v0": 1, "v1": 3}
    assert compared.sentiments == {"neutral->negative": 1}
    assert sorted(compared.shares) == [[1, 0.0, 0.1], [1, 0.4, 0.0]]
    assert compared.hidden == 1
    assert {(e["question_run_id"], e["change"], e["old_reason"], e["new_reason"]) for e in compared.examples} == {
        (str(lost), "lost", "verified", "not_verified"),
        (str(gained), "gained", "name_absent", "verified"),
    }


def test_drift_is_the_mean_difference_with_an_interval_over_questions() -> None:
    drift = drift_of([(2, 1.0, 0.5), (1, 0.4, 0.4), (1, 0.2, 0.3)])
    assert (drift.n, drift.old, drift.new) == (4, pytest.approx(0.4), pytest.approx(0.3))
    assert drift.difference == pytest.approx(-0.1)
    assert drift.low is not None and drift.high is not None and drift.low < -0.1 < drift.high
    assert drift_of([(3, 1.0, 1.0)]).reason == "no interval: it takes answers to two questions"
    assert (drift_of([]).n, drift_of([]).old) == (0, None)


def summarised(session: Session, org_id: UUID, batch_id: UUID, read: int) -> ReevaluationSummary:
    """Summarise a replay of four answers of which `read` came through."""
    replay = open_replay(session, window(org_id))
    evaluate(session, batch_id, org_id, version="v2", limit=read)
    failed = {"llm_refused": 4 - read} if read < 4 else {}
    return summarise_replay(session, replay, failed, coverage_threshold=0.5, flow_run_id=None, duration_seconds=1.5)


@pytest.mark.parametrize(("read", "status"), [(4, "completed"), (2, "completed"), (1, "failed")])
def test_too_few_answers_read_again_fail_the_replay_with_counts(database: Database, read: int, status: str) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, **{**OWN, "questions": 4})
        batch_id = answered(session, org_id)
        evaluate(session, batch_id, org_id)
        summary = summarised(session, org_id, batch_id, read)
        again = open_replay(session, window(org_id))
    assert (summary.status, summary.found, summary.reevaluated) == (status, 4, read)
    assert (again.found, again.current) == (4 - read, read)
    if status == "failed":
        assert summary.reason is not None
        assert summary.reason.startswith("Only 1 of 4 evaluations could be read again (threshold 50%); failed: 3 llm_")


def test_a_replayed_answer_is_charged_once_for_its_first_evaluation(database: Database) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, **OWN)
        batch_id = answered(session, org_id)
        hold_default(session, batch_id)
        evaluate(session, batch_id, org_id, limit=1)
        assert settle(session, batch_id).entries == 1
        evaluate(session, batch_id, org_id)
    with database.transaction() as session:
        evaluate(session, batch_id, org_id, version="v2")
        assert settle(session, batch_id).entries == 1
        assert settle(session, batch_id).entries == 0
        versions = [entry[-1]["extractor_version"] for entry in ledger(session, batch_id)]
    assert versions == ["v1", "v1"]
