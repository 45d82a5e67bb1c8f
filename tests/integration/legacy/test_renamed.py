"""Names, prices and tenants that went from one row of the old system to another between two imports."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.legacy import MEMBER, NETWORK, ORG, OTHER, PARTNER, made, writing

NAMES = "SELECT name, deleted_at IS NULL FROM orgs WHERE org_id = :id"


@pytest.fixture
def taken(legacy_url, take_over, day):
    """Tenants with a day of history, taken over once."""
    with writing(legacy_url) as legacy:
        legacy.tenants()
        legacy.answers(ORG, day)
    take_over()
    return legacy_url


def follow(take_over):
    """Import what changed: a dry run counts the same, and nothing is left for another import."""
    planned = take_over(dry_run=True)
    report = take_over()
    assert (report.failures, report.tables) == ([], planned.tables)
    assert take_over().changes == 0
    return report


def test_two_orgs_may_swap_their_names(taken, take_over, here):
    with writing(taken) as legacy:
        legacy.run(
            "UPDATE orgs SET name = CASE org_id WHEN :one THEN 'Maple Plumbing' ELSE 'Northwind Heating' END"
            " WHERE org_id IN (:one, :two)",
            one=ORG,
            two=MEMBER,
        )
    follow(take_over)
    assert here(NAMES, id=ORG) == [("Maple Plumbing", True)]
    assert here(NAMES, id=MEMBER) == [("Northwind Heating", True)]


@pytest.mark.parametrize("kept_there", [True, False])
def test_an_org_that_was_deleted_and_made_again_with_the_same_name_is_two(taken, take_over, here, kept_there):
    with writing(taken) as legacy:
        if kept_there:
            legacy.run("UPDATE orgs SET deleted_at = now() WHERE org_id = :id", id=ORG)
        else:
            legacy.run("DELETE FROM orgs WHERE org_id = :id", id=ORG)
        legacy.add("orgs", org_id=made("again"), partner_id=PARTNER, name="Northwind Heating")
    follow(take_over)
    assert here(NAMES, id=made("again")) == [("Northwind Heating", True)]
    assert here(NAMES, id=ORG) == [(f"Northwind Heating ({str(ORG)[:8]})", False)]


def test_an_org_and_a_network_that_left_the_old_system_are_deleted_here(taken, take_over, here):
    with writing(taken) as legacy:
        legacy.run("DELETE FROM orgs WHERE org_id = :id", id=MEMBER)
        legacy.run("DELETE FROM networks")
    follow(take_over)
    assert here(NAMES, id=MEMBER) == [("Maple Plumbing", False)]
    assert here("SELECT network_id FROM networks WHERE deleted_at IS NOT NULL") == [(NETWORK,)]


def test_an_org_that_only_moved_to_a_partner_who_is_not_imported_is_left_alone(taken, take_over, here):
    with writing(taken) as legacy:
        legacy.add("partners", partner_id=OTHER, name="Second", balance=5)
        legacy.run("UPDATE orgs SET partner_id = :other WHERE org_id = :org", other=OTHER, org=ORG)
    assert take_over(partners=frozenset({PARTNER})).failures == []
    assert here(NAMES, id=ORG) == [("Northwind Heating", True)]


def test_a_price_that_took_the_place_of_another_replaces_it(taken, take_over, here):
    with writing(taken) as legacy:
        legacy.run("DELETE FROM pricing_configs")
        legacy.add(
            "pricing_configs",
            pricing_config_id=made("new price"),
            partner_id=PARTNER,
            action="question_run",
            fixed_price=0.07,
        )
    follow(take_over)
    assert [str(price) for (price,) in here("SELECT fixed_price FROM pricing_configs")] == ["0.070000"]


def test_a_network_that_was_made_again_with_the_same_name_is_taken(taken, take_over, here):
    with writing(taken) as legacy:
        legacy.run("UPDATE networks SET deleted_at = :when", when=datetime.now(UTC))
        legacy.add("networks", network_id=made("again"), partner_id=PARTNER, name="Northern Trades League")
    follow(take_over)
    assert here("SELECT name FROM networks WHERE deleted_at IS NULL") == [("Northern Trades League",)]
