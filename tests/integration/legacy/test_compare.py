"""A dual run: both systems on the same days, compared per org and day."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from tests.support.legacy import GONE, MEMBER, NETWORK, ORG, made, writing
from visibility.legacy.__main__ import app
from visibility.legacy.comparison import MEASURES, Tolerances, Window, compare
from visibility.legacy.mapping import read_mapping
from visibility.legacy.source import opened


@pytest.fixture
def both(legacy_url, take_over, database, day):
    """The old system has asked for an org and a network; ours has done the same, at the same cost."""
    with writing(legacy_url) as legacy:
        legacy.tenants()
    take_over()
    with writing(legacy_url) as legacy:
        for owner, options in ((ORG, {}), (NETWORK, {"scope": "network", "orgs": (MEMBER,)})):
            legacy.answers(owner, day, **options)
    with database.transaction() as session:
        ask(session, ORG, day, scope="org", orgs=(ORG,))
        ask(session, NETWORK, day, scope="network", orgs=(MEMBER,))
    return legacy_url


def ask(session, owner: UUID, day, *, scope: str, orgs: tuple[UUID, ...], sandbox: bool = False) -> None:
    """What our flows leave behind for one batch of two answers, one of which mentions."""
    batch_id = uuid4()
    session.execute(
        text(f"INSERT INTO evaluation_batches (batch_id, scope, {scope}_id, run_date, sandbox)"
             " VALUES (:batch, :scope, :owner, :day, :sandbox)"),
        {"batch": batch_id, "scope": scope, "owner": owner, "day": day, "sandbox": sandbox},
    )  # fmt: skip
    for number in (1, 2):
        values = {"run": uuid4(), "batch": batch_id, "question": made(f"{owner}/{number}"), "mentioned": number == 1}
        session.execute(text(RUN), values)
        for org_id in orgs:
            for statement in READ_AND_CHARGED:
                session.execute(text(statement), values | {"org": org_id})


RUN = """
    INSERT INTO question_runs
        (question_run_id, batch_id, question_id, model, country_code, status, response_text, cost_usd)
    VALUES (:run, :batch, :question, 'chatgpt', 'US', 'answered', 'x', 0.0015)
"""
READ_AND_CHARGED = (
    """
    INSERT INTO org_evals (question_run_id, org_id, extractor_version, mentioned, reason)
    VALUES (:run, :org, 'now', :mentioned, 'verified')
    """,
    """
    INSERT INTO llm_calls
        (purpose, model, batch_id, org_id, input_tokens, output_tokens, cost_usd, price_table, latency_ms)
    VALUES ('reading', 'm', :batch, :org, 1, 1, 0.002, 'p', 1)
    """,
    """
    INSERT INTO partner_usage_ledger
        (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id, batch_id)
    SELECT :org, partner_id, 'PARTNER', partner_id, -0.05, 'question_run', :run, :batch FROM orgs WHERE org_id = :org
    """,
    "UPDATE credit_balances SET current_balance = current_balance - 0.05",
)


def compared(database, url, day, **window):
    with opened(url, read_mapping()) as source, database.transaction() as session:
        return compare(session, source, Window(day, day, **window), Tolerances())


def test_where_both_did_the_same_nothing_differs(both, database, day):
    found = compared(database, both, day)
    assert [(difference.subject.scope, difference.name, difference.verdict) for difference in found] == [
        ("member", "Maple Plumbing", "equal"),
        ("network", "Northern Trades League", "equal"),
        ("org", "Northwind Heating", "equal"),
    ]
    org = found[-1]
    assert (org.old.runs, org.old.mentions, org.old.cost, org.old.charged) == (2, 1, Decimal("0.007"), Decimal("0.1"))


PLANTED = (
    ("DELETE FROM question_runs WHERE question_run_id = :run", ORG, "beyond", ("runs", "charged")),
    ("UPDATE question_runs SET total_cost = 0.5 WHERE question_run_id = :run", ORG, "beyond", ("cost",)),
    ("UPDATE partner_usage_ledger SET amount = 0.09 WHERE question_run_id = :run", ORG, "beyond", ("charged",)),
    ("UPDATE org_evals SET is_mention_verified = false WHERE question_run_id = :run", ORG, "within", ()),
    ("DELETE FROM org_evaluation_batches WHERE batch_id = :batch", ORG, "only new", MEASURES),
    ("DELETE FROM network_org_evals WHERE question_run_id = :of_member", MEMBER, "beyond", ("runs",)),
)


def test_each_planted_difference_is_found(both, database, day):
    expected = {}
    for number, (change, org_id, verdict, beyond) in enumerate(PLANTED, start=1):
        that_day = day - timedelta(days=number)
        with writing(both) as legacy, database.transaction() as session:
            run_id, _ = legacy.answers(ORG, that_day)
            of_member, _ = legacy.answers(NETWORK, that_day, scope="network", orgs=(MEMBER,))
            ask(session, ORG, that_day, scope="org", orgs=(ORG,))
            ask(session, NETWORK, that_day, scope="network", orgs=(MEMBER,))
            given = {"run": run_id, "of_member": of_member, "batch": made(f"{ORG}/{that_day}")}
            legacy.run(change, **{name: value for name, value in given.items() if f":{name}" in change})
        expected[that_day, org_id] = (verdict, beyond)
    with opened(both, read_mapping()) as source, database.transaction() as session:
        found = compare(session, source, Window(day - timedelta(days=6), day), Tolerances())
    assert {
        (difference.subject.day, difference.subject.id): (difference.verdict, difference.beyond)
        for difference in found
        if difference.verdict != "equal" and difference.subject.scope != "network"
    } == expected


def test_mentions_differ_beyond_chance_only_when_many_do(both, database, day):
    with writing(both) as legacy:
        legacy.run("DELETE FROM org_evals")
        legacy.run(
            "INSERT INTO org_evals (org_eval_id, question_run_id, org_id, mention_text, created_at)"
            " SELECT gen_random_uuid(), question_run_id, :org, 'x', now() FROM question_runs WHERE batch_id = :batch",
            org=ORG,
            batch=made(f"{ORG}/{day}"),
        )
        for number in range(6):
            legacy.answers(ORG, day, name=f"again {number}", mentioned=2)
    found = compared(database, both, day, orgs=frozenset({ORG}))
    assert [(difference.subject.id, difference.beyond) for difference in found] == [
        (ORG, ("runs", "mentions", "cost", "charged"))
    ]


def test_what_was_taken_over_or_simulated_is_not_ours(both, take_over, database, day):
    earlier = day - timedelta(days=1)
    with writing(both) as legacy:
        legacy.answers(GONE, earlier)
    take_over()
    with database.transaction() as session:
        ask(session, ORG, earlier, scope="org", orgs=(ORG,), sandbox=True)
    found = compared(database, both, earlier)
    assert [(difference.name, difference.verdict) for difference in found] == [("Closed Doors Ltd", "only old")]


def test_the_command_prints_writes_and_leaves_with_its_verdict(both, database_url, day, tmp_path):
    call = ["compare", "--legacy-url", both, "--database-url", database_url, "--since", str(day), "--until", str(day)]
    same = CliRunner().invoke(app, [*call, "--all", "--csv", str(tmp_path / "all.csv")])
    assert same.exit_code == 0, same.output
    assert "Northwind Heating" in same.output and "3 compared: 3 equal" in same.output
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [row["charged_new"] for row in csv.DictReader(file)] == ["0.100000"] * 3
    with writing(both) as legacy:
        legacy.run("UPDATE question_runs SET total_cost = 0.5")
    other = CliRunner().invoke(app, [*call, "--json"])
    assert other.exit_code == 1
    assert [row["beyond"] for row in json.loads(other.stdout)] == ["", "cost", "cost"]
    assert CliRunner().invoke(app, [*call, "--cost", "1"]).exit_code == 0


def test_what_has_one_id_is_compared_once(both, database, day):
    with writing(both) as legacy:
        for table in ("org_evaluation_batches", "question_runs", "org_evals", "partner_usage_ledger"):
            legacy.run(f"INSERT INTO {table} SELECT * FROM {table}")
    assert {difference.verdict for difference in compared(database, both, day)} == {"equal"}


def test_odd_values_are_compared_as_they_are_imported(both, database, day):
    with writing(both) as legacy:
        legacy.run("ALTER TABLE org_evals ALTER is_mention_verified TYPE text")
        legacy.run("UPDATE org_evals SET is_mention_verified = 'Yes' WHERE is_mention_verified = 'true'")
        legacy.run("UPDATE org_evals SET is_mention_verified = '0', mention_text = 'x' WHERE mention_text IS NULL")
        legacy.run("UPDATE question_runs SET total_cost = 'NaN'")
        legacy.run("UPDATE partner_usage_ledger SET amount = 'NaN'")
    org = compared(database, both, day, orgs=frozenset({ORG}))[0]
    assert (org.old.mentions, org.old.cost, org.old.charged) == (1, Decimal("0.004"), 0)


def test_a_comparison_of_nothing_is_refused(both, cli, tmp_path, day):
    for options, sentence in (
        (["--since", "2020-01-01", "--until", "2020-01-02"], "error: Neither system has anything from 2020-01-01"),
        (["--since", "2020-01-02", "--until", "2020-01-01"], "error: --since 2020-01-02 is after --until 2020-01-01."),
        (["--since", str(day), "--csv", str(tmp_path / "no" / "x.csv")], "x.csv cannot be written: No such file"),
    ):
        refused = cli("compare", *options)
        assert refused.exit_code == 2 and sentence in refused.stderr


def test_a_table_that_the_old_system_does_not_have_hinders_no_comparison(both, database_url, day, tmp_path, cli):
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("network_batches: null\nnetwork_evaluations: null\n")
    told = cli("compare", "--since", str(day), "--until", str(day), "--mapping", str(mapping), "--json")
    assert [row["verdict"] for row in json.loads(told.stdout)] == ["only new", "only new", "equal"]
