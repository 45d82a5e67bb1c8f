"""The commands of networks: refusals that say what to do, and one network from its file to its re-evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from flows.network_commands import ask_for_network, evaluate_member
from flows.reevaluation_commands import reevaluate_network, reevaluate_org
from sandbox.server import RunningSandbox
from tests.support.command import REPOSITORY, Command, assert_refused, command_of, simulated_command
from visibility.store.database import Database

NORTHWIND = REPOSITORY / "examples" / "northwind-heating.yaml"
UNKNOWN = "00000000-0000-0000-0000-000000000001"
LEAGUE = """
partner: {name: League Services, balance: 5}
networks:
  - {name: Lenders League, models: [chatgpt], questions: ["Who lends to farms?", "Who lends to shops?"]}
orgs:
  - {name: Community Financial, network: Lenders League, websites: [https://cf.example]}
  - {name: Financial Community, network: Lenders League}
"""
COMMANDS = {
    "network": ask_for_network,
    "member": evaluate_member,
    "org again": reevaluate_org,
    "network again": reevaluate_network,
}

Commands = Callable[[str], Command]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    return lambda name: command_of(COMMANDS[name], monkeypatch, tmp_path)


@pytest.fixture
def simulated(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, database_url: str, prefect_api: str, sandbox: RunningSandbox
) -> Commands:
    return lambda name: simulated_command(commands(name), monkeypatch, database_url, prefect_api, sandbox.url)


@pytest.fixture
def league(tmp_path: Path) -> Path:
    path = tmp_path / "league.yaml"
    path.write_text(LEAGUE)
    return path


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("network", [], ["--network-file", "--network-id"]),
        ("network", ["--network-id", "12"], ["'12' is not a valid UUID"]),
        ("network", ["--network-file", "x.yaml", "--spawn", "thread"], ["--spawn", "subflow", "deployment"]),
        ("network", ["--network-file", "x.yaml", "--run-date", "2199-01-01"], ["more than a year ahead"]),
        ("network", ["--network-file", "x.yaml", "--sandbox-url", "http://127.0.0.1:1"], ["needs --sandbox"]),
        ("network", ["--network-file", "/no/such.yaml", "--sandbox"], ["There is no file /no/such.yaml"]),
        ("network", ["--network-file", "x.yaml"], ["BRIGHTDATA_API_KEY", "--sandbox"]),
        ("member", [], ["--org-id UUID"]),
        ("member", ["--org-id", UNKNOWN, "--since", "monday"], ["'monday' is not a date such as"]),
        ("org again", [], ["--org-id UUID"]),
        ("org again", ["--org-id", UNKNOWN, "--since", "2026-11-02", "--until", "2026-11-01"], ["is after --until"]),
        ("network again", [], ["--network-id UUID"]),
    ],
)
def test_a_wrong_option_is_one_sentence_and_starts_nothing(
    commands: Commands, tmp_path: Path, name: str, arguments: list[str], words: list[str]
) -> None:
    assert_refused(commands(name)(*arguments), *words)
    assert not (tmp_path / "data").exists()


def test_a_file_without_exactly_the_wanted_network_loads_nothing_and_says_what_to_do(
    simulated: Commands, database: Database, league: Path
) -> None:
    network = simulated("network")
    assert_refused(network("--network-file", NORTHWIND), "holds no network", "flows.org_evaluation --org-file")
    assert_refused(network("--network-file", league, "--network-id", UNKNOWN), UNKNOWN, "It holds", "(Lenders League)")
    league.write_text(LEAGUE.replace("networks:", "networks:\n  - {name: Second League}"))
    assert_refused(network("--network-file", league), "2 networks", "--network-id", "(Second League)")
    with database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM networks")) == 0


def test_who_is_unknown_or_no_member_is_refused(simulated: Commands, database: Database, league: Path) -> None:
    assert_refused(simulated("network")("--network-id", UNKNOWN), f"no network {UNKNOWN}")
    assert_refused(simulated("network again")("--network-id", UNKNOWN), f"no network {UNKNOWN}")
    assert_refused(simulated("member")("--org-id", UNKNOWN), f"no organisation {UNKNOWN}")
    assert_refused(simulated("org again")("--org-id", UNKNOWN), f"no organisation {UNKNOWN}")


@pytest.mark.parametrize("name", ["member", "org again"])
def test_who_only_reads_needs_the_key_of_the_llm_and_not_that_of_a_vendor(
    commands: Commands, name: str, database_url: str
) -> None:
    command = commands(name)
    assert_refused(command("--org-id", UNKNOWN, DATABASE_URL=database_url), "OPENAI_API_KEY")
    assert_refused(command("--org-id", UNKNOWN, OPENAI_API_KEY="key"), f"no organisation {UNKNOWN}")


def test_a_network_is_evaluated_from_its_file_and_the_other_commands_find_nothing_left(
    simulated: Commands, database: Database, sandbox: RunningSandbox, league: Path
) -> None:
    ended = simulated("network")("--network-file", league)
    assert ended.status == 0
    for word in ("SIMULATED", "4 of 4 evaluations", "Community Financial", "Prefect UI: http", "network_org_evals"):
        assert word in ended.output
    progress = [line.split("  ", 1)[-1] for line in ended.errors.splitlines()]
    assert "Financial Community: completed" in progress and len(progress) <= 8
    assert sum("held" in line for line in progress) == 1  # the members' own steps are in the Prefect UI

    known = {org["name"]: org for org in httpx.get(f"{sandbox.url}/_world").json()["orgs"]}
    assert known["Community Financial"]["websites"] == ["https://cf.example"]
    assert known["Financial Community"]["questions"] == ["Who lends to farms?", "Who lends to shops?"]

    with database.transaction() as session:
        org_id, network_id = session.execute(text("SELECT org_id, network_id FROM orgs LIMIT 1")).one()
    assert isinstance(org_id, UUID)
    again = json.loads(simulated("network")("--network-id", network_id, "--json").output)
    assert (again["status"], again["answered"], again["evaluations"], again["charges"]) == ("completed", 2, 4, 4)
    member = json.loads(simulated("member")("--org-id", org_id, "--network-id", network_id, "--json").output)
    assert (member["status"], member["found"], member["evaluated"], member["charges"]) == ("completed", 0, 2, 0)
    replay = json.loads(simulated("network again")("--network-id", network_id, "--json").output)
    assert (replay["status"], replay["orgs"], replay["current"], replay["found"]) == ("completed", 2, 4, 0)
    own = simulated("org again")("--org-id", org_id)
    assert own.status == 0 and "no evaluations" in own.output
    assert sandbox.accounting()["totals"]["records_sold"] == 2


def test_a_network_whose_vendors_fail_is_exit_status_1_and_one_sentence(
    simulated: Commands, sandbox: RunningSandbox, league: Path
) -> None:
    sandbox.set_faults({"job_failed": 1})
    ended = simulated("network")("--network-file", league, "--json")
    result = json.loads(ended.output)
    assert ended.status == 1 and result["status"] == "failed" and "Traceback" not in ended.errors
    assert ended.sentence == f"Error: {result['reason']}"


def test_members_on_a_pool_need_their_deployment_before_anything_is_asked(
    simulated: Commands, sandbox: RunningSandbox, league: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.members.DEPLOYMENT", "network-org-missing/nowhere")
    ended = simulated("network")("--network-file", league, "--spawn", "deployment")
    assert_refused(ended, "no deployment network-org-missing/nowhere", "prefect --no-prompt deploy --all")
    assert sandbox.accounting()["totals"]["records_sold"] == 0
