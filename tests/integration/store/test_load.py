from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from visibility.domain import Location
from visibility.errors import InvalidFile
from visibility.store.load import LoadedFile, load_file
from visibility.store.networks import load_network
from visibility.store.orgs import load_org

EXAMPLES = Path(__file__).parents[3] / "examples"
TABLES = (
    "partners", "networks", "orgs", "org_websites", "geo_models", "locations", "geo_questions", "schedules",
    "pricing_configs", "credit_balances", "credit_top_ups",
)  # fmt: skip
ORG = """\
partner:
  name: Beacon Agency
orgs:
  - name: Northwind Heating
"""


@pytest.fixture
def load(database, tmp_path):
    def write_and_load(content: str) -> LoadedFile:
        path = tmp_path / "tenants.yaml"
        path.write_text(content, encoding="utf-8")
        with database.transaction() as session:
            return load_file(session, path)

    return write_and_load


@pytest.fixture
def refusal(database, tmp_path):
    """Load a file that is wrong; return what was said, after a look that nothing was written."""

    def load_wrong(content: str | bytes) -> list[str]:
        path = tmp_path / "tenants.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        before = rows(database)
        with pytest.raises(InvalidFile) as caught, database.transaction() as session:
            load_file(session, path)
        assert rows(database) == before
        return [line.replace(f"{tmp_path}{os.sep}", "") for line in caught.value.message.splitlines()]

    return load_wrong


def rows(database) -> dict[str, list]:
    with database.transaction() as session:
        return {
            table: sorted(tuple(map(str, row)) for row in session.execute(text(f"SELECT * FROM {table}")))
            for table in TABLES
        }


def one(database, query: str):
    with database.transaction() as session:
        return session.execute(text(query)).scalar_one()


def every(database, query: str) -> list:
    with database.transaction() as session:
        return list(session.execute(text(query)).scalars())


@pytest.mark.parametrize(
    ("name", "questions", "locations"), [("northwind-heating", 10, 2), ("harbor-credit-union", 40, 3)]
)
def test_the_examples_load(database, name, questions, locations):
    with database.transaction() as session:
        loaded = load_file(session, EXAMPLES / f"{name}.yaml")
        org = load_org(session, loaded.org_ids[0])
    assert len(org.questions) == questions
    assert len(org.locations) == locations
    assert sorted(org.models) == ["chatgpt", "gemini", "perplexity"]
    assert len(org.websites) >= 2


def test_the_example_of_a_network_loads(database):
    with database.transaction() as session:
        loaded = load_file(session, EXAMPLES / "network.yaml")
        network = load_network(session, loaded.network_ids[0])
    assert (len(network.questions), len(network.members)) == (8, 12)
    assert network.locations == (Location("US", "Iowa"), Location("US", "Ohio"))
    assert {member.org_id for member in network.members} == set(loaded.org_ids)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_loading_again_changes_nothing(database, path):
    with database.transaction() as session:
        first = load_file(session, path)
    before = rows(database)
    with database.transaction() as session:
        second = load_file(session, path)
    assert (second.created, second.updated) == (0, 0)
    assert (second.org_ids, second.network_ids) == (first.org_ids, first.network_ids)
    assert rows(database) == before


def test_loading_again_never_adds_money(database, load):
    load(ORG + "    balance: 25\n")
    load(ORG + "    balance: 500\n")
    assert one(database, "SELECT current_balance FROM credit_balances") == Decimal(25)
    assert one(database, "SELECT sum(amount) FROM credit_top_ups") == Decimal(25)


def test_loading_again_does_not_refill_a_spent_balance(database, load):
    load(ORG + "    balance: 25\n")
    with database.transaction() as session:
        session.execute(text("UPDATE credit_balances SET current_balance = 0"))
    load(ORG + "    balance: 25\n")
    assert one(database, "SELECT current_balance FROM credit_balances") == 0


def test_two_loaders_at_once_write_everything_once(database):
    def load_example(_: int) -> int:
        with database.transaction() as session:
            return load_file(session, EXAMPLES / "northwind-heating.yaml").created

    with ThreadPoolExecutor(3) as threads:
        created = sorted(threads.map(load_example, range(3)))
    assert created[:2] == [0, 0]
    assert one(database, "SELECT count(*) FROM geo_questions") == 10


def test_an_id_that_the_file_gives_is_kept(load):
    given = UUID("5d1f8c5e-1111-4222-8333-444455556666")
    assert load(ORG + f"    id: {given}\n").org_ids == (given,)


def test_made_ids_follow_from_the_names(load):
    assert load(ORG).org_ids == (UUID("1453b005-1c16-52d6-b519-7a5685897d8e"),)


def test_another_name_under_the_same_id_renames(database, load):
    given = "    id: 5d1f8c5e-1111-4222-8333-444455556666\n"
    load(ORG + given)
    renamed = load(ORG.replace("Northwind Heating", "Northwind Comfort") + given)
    assert (renamed.created, renamed.updated) == (0, 1)
    assert every(database, "SELECT name FROM orgs") == ["Northwind Comfort"]


def test_a_renamed_org_leaves_its_old_name_to_another(database, load):
    load(ORG)
    with database.transaction() as session:
        session.execute(text("UPDATE orgs SET name = 'Renamed'"))
    load(ORG)
    assert sorted(every(database, "SELECT name FROM orgs")) == ["Northwind Heating", "Renamed"]


def test_a_name_that_is_stored_under_another_id_is_refused(load, refusal):
    load(ORG)
    said = refusal(ORG + "    id: 5d1f8c5e-1111-4222-8333-444455556666\n")
    assert said[0].startswith("tenants.yaml:5: orgs[0].id: 'Northwind Heating' is stored with the id ")


def test_an_id_of_another_partner_is_refused(load, refusal):
    given = "    id: 5d1f8c5e-1111-4222-8333-444455556666\n"
    load(ORG + given)
    said = refusal(ORG.replace("Beacon", "Other").replace("Northwind Heating", "Else") + given)
    assert said == ["tenants.yaml:5: orgs[0].id: 5d1f8c5e-1111-4222-8333-444455556666 belongs to another partner."]


def test_a_question_that_left_the_file_is_marked_deleted_and_returns_as_the_same(database, load):
    org_id = load(ORG + "    questions: ['Who repairs furnaces?', 'Who repairs boilers?']\n").org_ids[0]
    before = one(database, "SELECT question_id FROM geo_questions WHERE question_text LIKE '%boilers%'")
    fewer = load(ORG + "    questions: ['Who repairs furnaces?']\n")
    assert (fewer.created, fewer.updated) == (0, 1)
    with database.transaction() as session:
        assert [question.text for question in load_org(session, org_id).questions] == ["Who repairs furnaces?"]
    load(ORG + "    questions: ['Who repairs furnaces?', 'Who repairs boilers?']\n")
    assert one(database, "SELECT question_id FROM geo_questions WHERE question_text LIKE '%boilers%'") == before
    assert one(database, "SELECT count(*) FROM geo_questions WHERE deleted_at IS NULL") == 2


def test_type_and_tags_of_a_question_can_change(database, load):
    load(ORG + "    questions: [{text: 'Who?', type: brand, tags: [a, b]}]\n")
    assert load(ORG + "    questions: [{text: 'Who?', tags: [b]}]\n").updated == 1
    assert every(database, "SELECT tags FROM geo_questions WHERE type IS NULL") == [["b"]]


def test_a_given_list_is_the_whole_truth(database, load):
    load(ORG + "    models: [chatgpt, gemini]\n    locations: [US, CA]\n    websites: [a.example, b.example]\n")
    changed = load(ORG + "    models: [gemini, perplexity]\n    locations: [CA]\n    websites: [b.example]\n")
    assert (changed.created, changed.updated) == (1, 3)
    assert sorted(every(database, "SELECT name FROM geo_models")) == ["gemini", "perplexity"]
    assert every(database, "SELECT country_code FROM locations") == ["CA"]
    assert every(database, "SELECT url FROM org_websites") == ["https://b.example"]


def test_an_empty_list_removes_all(database, load):
    load(ORG + "    schedule: [monday]\n    questions: ['Who?']\n")
    load(ORG + "    schedule: []\n    questions: []\n")
    assert every(database, "SELECT dow FROM schedules") == []
    assert one(database, "SELECT count(*) FROM geo_questions WHERE deleted_at IS NULL") == 0


def test_a_list_that_is_not_given_stays(database, load):
    load(ORG + "    models: [chatgpt]\n    schedule: [monday]\n    questions: ['Who?']\n")
    load(ORG)
    assert every(database, "SELECT name FROM geo_models") == ["chatgpt"]
    assert every(database, "SELECT dow FROM schedules") == [0]
    assert one(database, "SELECT count(*) FROM geo_questions WHERE deleted_at IS NULL") == 1


def test_a_deleted_org_that_is_loaded_again_is_restored(database, load):
    org_id = load(ORG).org_ids[0]
    with database.transaction() as session:
        session.execute(text("UPDATE orgs SET deleted_at = now()"))
    assert load(ORG).org_ids == (org_id,)
    assert one(database, "SELECT deleted_at FROM orgs") is None


def test_uk_is_stored_as_gb_and_blank_places_as_null(database, load):
    org_id = load(ORG + "    locations: [uk, {country: ca, region: '', city: ' '}]\n").org_ids[0]
    with database.transaction() as session:
        assert load_org(session, org_id).locations == (Location("CA"), Location("GB"))


def test_norway_is_a_country_and_not_false(database, load):
    load(ORG + "    locations: [NO]\n")
    assert every(database, "SELECT country_code FROM locations") == ["NO"]


def test_weekdays_may_be_words_or_numbers(database, load):
    load(ORG + "    schedule: [0, Tue, wednesday, 6]\n")
    assert sorted(every(database, "SELECT dow FROM schedules")) == [0, 1, 2, 6]


def test_money_is_read_exactly(database, load):
    load(ORG + "    balance: 0.1\n    spend_limit: 12345678.123456\n")
    assert one(database, "SELECT current_balance FROM credit_balances") == Decimal("0.1")
    assert one(database, "SELECT spend_limit FROM orgs") == Decimal("12345678.123456")


def test_pricing_is_created_updated_and_kept(database, load):
    partner = "partner:\n  name: Beacon Agency\n"
    load(partner + "  pricing: {margin_pct: 0.4}\n")
    assert one(database, "SELECT fixed_price FROM pricing_configs") == Decimal("0.05")
    assert load(partner + "  pricing: {margin_pct: 0.25, share_answer_cost: no}\n").updated == 1
    load(partner)
    assert one(database, "SELECT margin_pct FROM pricing_configs WHERE NOT share_answer_cost") == Decimal("0.25")


NETWORK = """\
partner:
  name: Coastal League
networks:
  - name: Coastal
    questions: ['Which credit union is best?']
    models: [chatgpt]
    locations: [US]
    schedule: [friday]
orgs:
  - name: Harbor
    network: Coastal
"""


def test_a_network_and_its_orgs_load_from_one_file(database, load):
    loaded = load(NETWORK)
    assert len(loaded.network_ids) == 1
    assert one(database, "SELECT network_id FROM orgs WHERE network_joined_at IS NOT NULL") == loaded.network_ids[0]
    assert one(database, "SELECT network_id FROM geo_questions") == loaded.network_ids[0]
    assert load(NETWORK).updated == 0


def test_a_network_that_does_not_exist_is_refused(refusal):
    said = refusal(NETWORK.replace("network: Coastal", "network: Costal"))
    assert said == ["tenants.yaml:11: orgs[0].network: the partner has no network 'Costal'."]


def test_text_in_other_scripts_is_kept(database, load):
    load(ORG + "    questions: ['東京で一番の暖房会社は？ 🔥']\n")
    assert every(database, "SELECT question_text FROM geo_questions") == ["東京で一番の暖房会社は？ 🔥"]


def test_a_file_with_a_wrong_entry_writes_nothing(refusal):
    assert len(refusal(ORG + "    locations: [XX]\n")) == 1


def test_a_file_with_one_wrong_org_writes_none(refusal):
    assert len(refusal(ORG + "  - name: Second\n    network: Nowhere\n")) == 1


def test_a_missing_file_and_a_folder_are_named(database, tmp_path):
    for path, said in ((tmp_path / "no.yaml", "There is no file"), (tmp_path, "is a folder, not a YAML file")):
        with pytest.raises(InvalidFile, match=said), database.transaction() as session:
            load_file(session, path)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "visibility.store.load", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_did_and_the_ids(database, database_url):
    files = [str(path) for path in sorted(EXAMPLES.glob("*.yaml"))]
    done = command(*files, "--database-url", database_url)
    assert done.returncode == 0, done.stderr
    ids = every(database, "SELECT org_id FROM orgs UNION ALL SELECT network_id FROM networks")
    assert len(ids) > len(files)
    assert all(str(one) in done.stdout for one in ids)
    assert "created, 0 updated" in done.stdout


def test_the_command_lists_complaints_and_exits_with_2(database_url, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(ORG + "    locations: [XX]\n    balance: -1\n")
    done = command(str(path), "--database-url", database_url)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "error"]
    assert done.stdout == ""
