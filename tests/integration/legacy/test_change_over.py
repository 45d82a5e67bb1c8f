"""A partner that has changed over is never imported again, until it has gone back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.legacy import ORG, PARTNER, made, writing
from visibility.billing.top_ups import top_up
from visibility.errors import InvalidInput

MARKS = "SELECT note, amount FROM credit_top_ups WHERE note LIKE '%changed over%'"
BALANCE = "SELECT current_balance FROM credit_balances WHERE payer_type = 'PARTNER' AND payer_id = :id"
FINAL = ("import", "--partner", str(PARTNER), "--final")


@pytest.fixture
def old(legacy_url, day):
    """An old system with a day of history."""
    with writing(legacy_url) as legacy:
        legacy.tenants(balance=80)
        legacy.answers(ORG, day)
    return legacy_url


def test_who_has_changed_over_is_not_imported_again(old, cli, here, database):
    with writing(old) as legacy:
        legacy.add("partners", partner_id=made("second"), name="Another Agency", balance=5)
    assert cli(*FINAL, "--dry-run").exit_code == 0 and here(MARKS) == []
    assert cli(*FINAL).exit_code == 0
    with database.transaction() as session:
        top_up(session, "PARTNER", PARTNER, Decimal(100))
    with writing(old) as legacy:
        legacy.run("UPDATE partners SET balance = 0")
        legacy.run("DELETE FROM schedules")
    named = cli("import", "--partner", str(PARTNER))
    assert named.exit_code == 2 and f"error: Partner {PARTNER}: it has changed over on 20" in named.stderr
    everyone = cli("import")
    assert everyone.exit_code == 0 and "it is not imported again" in everyone.stdout
    assert here(BALANCE, id=PARTNER) == [(180,)] and here(BALANCE, id=made("second")) == [(0,)]
    assert here("SELECT count(*) FROM schedules") == [(3,)]


def test_who_has_gone_back_is_imported_again(old, cli, here):
    assert cli(*FINAL).exit_code == 0
    assert cli("give-back", "--partner", str(PARTNER), "--dry-run").exit_code == 0
    assert here(MARKS) == [("legacy: changed over", 0)]
    assert cli("give-back", "--partner", str(PARTNER)).exit_code == 0
    assert here(MARKS) == [("legacy: changed over, and given back", 0)]
    with writing(old) as legacy:
        legacy.run("UPDATE partners SET balance = 70")
    assert cli(*FINAL).exit_code == 0
    assert here(BALANCE, id=PARTNER) == [(70,)]


def test_nobody_changes_over_while_a_batch_is_at_work_there(old, cli, here, day, yesterday):
    with writing(old) as legacy:
        legacy.batch(ORG, yesterday, status="running")
    refused = cli(*FINAL)
    assert refused.exit_code == 1 and "not changed over: 1 batches are not finished" in refused.stderr
    assert here(MARKS) == []


def test_nobody_changes_over_with_a_balance_that_is_not_the_old_one(old, cli, here):
    with writing(old) as legacy:
        legacy.run("UPDATE partners SET balance = -3")
    refused = cli(*FINAL)
    assert refused.exit_code == 1 and f"the balance of PARTNER {PARTNER} is not the old one" in refused.stderr
    assert here(MARKS) == []


def test_what_is_final_comes_with_today(old, cli, here, yesterday):
    with writing(old) as legacy:
        legacy.run("UPDATE org_evaluation_batches SET created_at = now()")
    assert cli("import").exit_code == 0 and here("SELECT count(*) FROM evaluation_batches") == [(0,)]
    assert cli(*FINAL).exit_code == 0 and here("SELECT count(*) FROM evaluation_batches") == [(1,)]


def test_only_named_partners_with_their_history_change_over(old, take_over, cli):
    assert cli("import", "--final").exit_code == 2
    assert cli(*FINAL, "--no-history").exit_code == 2
    with pytest.raises(InvalidInput, match="--final"):
        take_over(final=True)
