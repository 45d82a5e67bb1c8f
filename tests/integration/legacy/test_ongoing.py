"""History taken over while the old system goes on: what it finishes, answers and retries later arrives, too."""

from __future__ import annotations

from datetime import timedelta

from tests.support.legacy import ORG, at, made, writing

STATES = "SELECT status, error FROM evaluation_batches ORDER BY run_date"
RUNS = "SELECT status, response_text FROM question_runs ORDER BY response_text"
EVALUATED = "SELECT count(*) FROM org_evals JOIN question_runs USING (question_run_id) WHERE status = 'answered'"
COUNTS = "SELECT (SELECT count(*) FROM org_evals), (SELECT sum(amount) FROM partner_usage_ledger)"


def unanswered(legacy, day, status="failed"):
    """A batch whose questions nobody has answered."""
    run_ids = legacy.answers(ORG, day, status=status)
    for statement in (
        "UPDATE question_runs SET response_text = NULL",
        "DELETE FROM org_evals",
        "DELETE FROM competitors",
        "DELETE FROM citations",
        "DELETE FROM partner_usage_ledger",
    ):
        legacy.run(statement)
    return run_ids


def retried(legacy, day, name, **columns):
    """Another run of the first question, answered, evaluated and charged."""
    legacy.add(
        "question_runs", question_run_id=made(name), batch_id=made(f"{ORG}/{day}"), question_id=made(f"{ORG}/1"),
        model="chatgpt", country_code="US", response_text=f"An answer of {name}.", created_at=at(day, 9), **columns,
    )  # fmt: skip
    legacy.evaluation(made(name), ORG, day)
    legacy.charge(made(name), ORG, day)


def test_a_batch_that_is_worked_on_waits_until_it_is_finished(legacy_url, take_over, here, cli, yesterday):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        run_ids = unanswered(legacy, yesterday, status="running")
    report = take_over(strict=True)
    assert report.tables["evaluation_batches"].waiting == 1 and here(STATES) == []
    assert "Batches that the old system has not finished: 1." in cli("import").stdout
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE org_evaluation_batches SET status = 'completed'")
        legacy.run("UPDATE question_runs SET response_text = 'answered now'")
        for run_id in run_ids:
            legacy.evaluation(run_id, ORG, yesterday)
            legacy.charge(run_id, ORG, yesterday)
    take_over()
    assert (here(STATES), here(RUNS)) == ([("completed", None)], [("answered", "answered now")] * 2)
    assert here("SELECT count(*), sum(amount) FROM partner_usage_ledger WHERE amount < 0")[0][0] == 2
    assert take_over().changes == 0


def test_a_batch_that_nobody_has_finished_for_two_days_comes_as_failed(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.batch(ORG, day - timedelta(days=1), status="running")
    assert take_over().sum_of("waiting") == 0
    assert here(STATES) == [("failed", "The old system left it running.")]
    with writing(legacy_url) as legacy:
        legacy.run("UPDATE org_evaluation_batches SET status = 'completed'")
    assert take_over().tables["evaluation_batches"].updated == 1
    assert here(STATES) == [("completed", None)]
    assert take_over().changes == 0


def test_a_retry_brings_the_answer_of_what_had_failed_with_its_evaluation_and_charge(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        unanswered(legacy, day)
    take_over()
    assert here(RUNS) == [("failed", None)] * 2
    with writing(legacy_url) as legacy:
        retried(legacy, day, "retry")
    take_over()
    assert here(RUNS) == [("answered", "An answer of retry."), ("failed", None)]
    assert [(number, str(charged)) for number, charged in here(COUNTS)] == [(1, "-0.050000")]
    assert take_over().changes == 0


def test_a_stored_answer_stays_and_a_later_one_has_no_evaluation_here(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    take_over()
    before = here(RUNS)
    with writing(legacy_url) as legacy:
        retried(legacy, day, "retry")
    assert take_over().failures == []
    assert (here(RUNS), here(EVALUATED), here("SELECT count(*) FROM org_evals")) == (before, [(2,)], [(2,)])


def test_what_a_flow_of_ours_works_on_is_neither_replaced_nor_evaluated(legacy_url, take_over, here, database, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        _, same = unanswered(legacy, day)
    take_over()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE question_runs SET provider = 'brightdata'")
        connection.exec_driver_sql("UPDATE evaluation_batches SET status = 'running', flow_run_id = gen_random_uuid()")
    with writing(legacy_url) as legacy:
        retried(legacy, day, "retry")
        legacy.run("UPDATE question_runs SET response_text = 'late' WHERE question_run_id = :id", id=same)
        legacy.evaluation(same, ORG, day)
        legacy.run("UPDATE org_evaluation_batches SET status = 'completed'")
    assert take_over().failures == []
    assert here(COUNTS) == [(0, None)]
    assert here(RUNS) == [("failed", None)] * 2 and here(STATES)[0][0] == "running"


def test_a_blank_answer_never_beats_one_with_a_text(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
        retried(legacy, day, "blank")
        legacy.run("UPDATE question_runs SET response_text = '  ' WHERE question_run_id = :id", id=made("blank"))
    take_over()
    assert here(RUNS) == [("answered", f"Northwind is fine on {day}.")] * 2


def test_of_two_batches_a_day_the_day_is_completed_if_any_is(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.batch(ORG, day, name="earlier", status="failed")
        legacy.run("UPDATE org_evaluation_batches SET created_at = created_at - interval '1 hour'")
        legacy.answers(ORG, day)
    take_over()
    assert here(STATES) == [("completed", None)]
    assert here("SELECT batch_id FROM evaluation_batches") == [(made(f"{ORG}/{day}earlier"),)]


def test_an_earlier_batch_that_turns_up_later_adds_to_the_day_that_is_here(legacy_url, take_over, here, day):
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    take_over()
    with writing(legacy_url) as legacy:
        earlier = legacy.batch(ORG, day, name="earlier")
        legacy.run(
            "UPDATE org_evaluation_batches SET created_at = created_at - interval '1 hour' WHERE batch_id = :id",
            id=earlier,
        )
        retried(legacy, day, "of the earlier")
        legacy.run(
            "UPDATE question_runs SET batch_id = :id, model = 'gemini' WHERE question_run_id = :run",
            id=earlier,
            run=made("of the earlier"),
        )
    take_over()
    batch_id = made(f"{ORG}/{day}")
    assert here("SELECT batch_id FROM evaluation_batches") == [(batch_id,)]
    assert here("SELECT batch_id FROM question_runs WHERE model = 'gemini'") == [(batch_id,)]
    assert take_over().changes == 0
