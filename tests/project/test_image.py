"""Dockerfile, .dockerignore and compose.yaml: what can be held without an engine. `make image` builds and runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_settings_fields

from deployments.image.build import TOOLS, pip_settings, require_tools
from deployments.image.compose import interpolated, our_services
from deployments.image.stops import JOBS
from deployments.image.together import RESULTS
from deployments.local import sandbox_environment
from deployments.local.prefect_server import TUNED_SETTINGS
from sandbox.__main__ import _parser as sandbox_parser
from tests.support import dockerfile
from visibility.errors import ConfigurationError
from visibility.settings import BrightDataSettings, LlmSettings, Settings
from visibility.store.database import Database

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("senso-workflows")]
RESULT: dict[str, Any] = json.loads((ROOT / "docs/image-result.json").read_text())
SETTINGS = {
    f"{settings.model_config.get('env_prefix', '')}{name}".upper()
    for settings in (Settings, BrightDataSettings, LlmSettings)
    for name in settings.model_fields
} | {"VISIBILITY_SANDBOX", "DATABASE_URL"}


def copied(stage: str) -> list[str]:
    """What a stage copies from the repository."""
    return [
        source
        for name, rest in dockerfile.stage(stage)
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]


def test_the_image_runs_as_a_numeric_user_without_rights():
    assert dict(dockerfile.stage("product"))["USER"] == "10001:10001"
    assert not any(name == "USER" for stage in ("sandbox", "production") for name, _ in dockerfile.stage(stage))


def test_its_command_is_process_one_itself():
    assert dockerfile.command() == ["prefect", "flow-run", "execute"]
    assert "ENTRYPOINT" not in dict(dockerfile.instructions())


def test_what_is_built_by_default_is_production_without_the_sandbox():
    assert dockerfile.stage("production") == [("FROM", "product AS production")]
    assert dockerfile.instructions()[-1] == ("FROM", "product AS production")
    assert "sandbox" not in copied("build") + copied("product")


def test_everything_installed_is_locked_with_a_hash_and_no_code_is_fetched_at_run_time():
    installs = [part for name, rest in dockerfile.instructions() if name == "RUN" for part in rest.split("&&")
                if "pip install" in part]  # fmt: skip
    assert all("--require-hashes" in part or "--no-deps --no-build-isolation" in part for part in installs)
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert deployed["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]


def test_every_package_of_the_product_is_in_the_image():
    packages = {"visibility", "blocks", "tasks", "flows", "deployments", "migrations"}
    assert packages | {"pyproject.toml", "requirements.runtime.lock"} <= set(copied("build"))
    assert "prefect.yaml" in copied("product")


def test_only_what_is_copied_is_sent_to_the_build():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    stages = ("build", "product", "sandbox")
    assert {line[1:] for line in lines if line.startswith("!")} == {part for name in stages for part in copied(name)}


def test_the_image_knows_no_secret_and_every_name_in_its_environment_is_a_setting():
    names = set(dockerfile.environment())
    assert {name for name in names if re.search("KEY|SECRET|TOKEN|PASSWORD|AUTH", name)} == set()
    own = {name for name in names if name.startswith("PREFECT_")} - {"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"}
    assert own <= prefect_settings()


def prefect_settings() -> set[str]:
    """The names under which Prefect's settings can be given in the environment."""
    names = {name for field in _get_settings_fields(PrefectSettings).values()
             for name in (field.name, *(getattr(field, "env_vars", None) or ()))}  # fmt: skip
    return {name.upper() for name in names}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_its_image_pinned(name: str):
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert name in OURS or re.fullmatch(r"[a-z]+:\d+\.\d+-\w+", service["image"])
    assert name in OURS or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_runs_for_long_has_a_health_check_and_what_depends_on_it_waits():
    long_running = {name for name, service in SERVICES.items() if service.get("restart") == "unless-stopped"}
    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == long_running
    conditions = {name: {"service_healthy"} if name in long_running else {"service_completed_successfully"}
                  for name in SERVICES}  # fmt: skip
    for service in SERVICES.values():
        for other, dependency in service.get("depends_on", {}).items():
            assert dependency["condition"] in conditions[other]


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_a_service_exists(name: str):
    program, *rest = SERVICES[name]["command"]
    if program == "python":
        assert rest[0] == "-m" and find_spec(rest[1])
        return
    assert program == "prefect"
    group, *arguments = [word for word in rest if word != "--no-prompt"]
    app = getattr(import_module(f"prefect.cli.{group}"), f"{group}_app")
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_the_sandbox_takes_its_options():
    assert sandbox_parser().parse_args(SERVICES["sandbox"]["command"][3:]).time_scale == 60


def test_flows_are_pointed_at_the_sandbox_as_by_make_up():
    expected = sandbox_environment(Settings(), "http://sandbox:8080")
    given = {name: value for name, value in COMPOSE["x-addresses"].items() if name in expected}
    assert given == {name: expected[name] for name in given}
    assert {"VISIBILITY_SANDBOX", "BRIGHTDATA_BASE_URL", "OPENAI_BASE_URL"} <= set(given)
    assert set(COMPOSE["x-addresses"]) <= SETTINGS | {"PREFECT_API_URL"}


def test_the_server_is_tuned_as_that_of_make_up():
    environment = SERVICES["prefect"]["environment"]
    assert {name: environment[name] for name in TUNED_SETTINGS} == TUNED_SETTINGS


def test_no_password_stands_in_the_file():
    text = (ROOT / "compose.yaml").read_text()
    passwords = re.findall(r"POSTGRES_PASSWORD: (\S+)|visibility:(\S+?)@", text)
    assert passwords and all("".join(found).startswith("${POSTGRES_PASSWORD:?") for found in passwords)


def test_a_machine_that_lacks_tools_or_rights_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.which", lambda tool: None if tool in ("buildah", "ip") else f"/usr/bin/{tool}")
    with pytest.raises(ConfigurationError, match=r"needs buildah and ip: apt-get install buildah iproute2\.$"):
        require_tools()
    monkeypatch.setattr("shutil.which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ConfigurationError, match="needs root"):
        require_tools()


def test_the_command_that_cannot_build_ends_with_a_sentence_and_exit_status_two(tmp_path: Path):
    command = [sys.executable, "-m", "deployments.image", "--result", str(tmp_path / "result.json")]
    ended = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"Building needs {' and '.join(TOOLS)}") and ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_pip_settings_are_handed_to_a_build_except_what_lies_on_this_disk():
    listed = [
        ":env:.timeout='90'",
        "global.index-url='https://packages.example/simple'",
        "global.extra-index-url='file:///srv/simple https://more.example/simple'",
        "global.find-links='/srv/wheels'",
        "global.timeout='15'",
    ]
    assert pip_settings(listed) == {
        "index-url": "https://packages.example/simple",
        "extra-index-url": "https://more.example/simple",
        "timeout": "90",
    }


def test_services_are_read_as_an_engine_reads_them():
    services = our_services(ROOT / "compose.yaml", {"POSTGRES_PASSWORD": "secret"})
    names = [service.name for service in services]
    assert sorted(names) == sorted(OURS)
    assert names.index("migrate") < names.index("prefect") < names.index("deployments") < names.index("worker")
    assert services[names.index("prefect")].volumes == ["/var/lib/prefect"]
    worker = services[names.index("worker")]
    assert worker.target == "production" and worker.grace_seconds == 120
    assert worker.environment["DATABASE_URL"] == "postgresql://visibility:secret@postgres:5432/visibility"
    assert services[names.index("deployments")].environment["SCHEDULES_ACTIVE"] == "false"
    with pytest.raises(ConfigurationError, match="set POSTGRES_PASSWORD"):
        interpolated("${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}", {})


@pytest.mark.parametrize("query", [RESULTS, JOBS])
def test_what_a_trial_asks_the_database_fits_the_current_schema(query: str, database: Database):
    with database.transaction() as session:
        session.connection().exec_driver_sql(query, ("2026-11-30",))


def test_the_kept_result_is_of_this_image_and_every_check_passed():
    assert [check["name"] for check in RESULT["checks"] if not check["passed"] or check["problem"]] == []
    assert RESULT["image"]["user"] == dict(dockerfile.stage("product"))["USER"]
    assert RESULT["image"]["command"] == dockerfile.command()
    assert all(check["seconds"] >= 0 for check in RESULT["checks"])
    assert len(RESULT["image"]["largest_packages_mb"]) == 10 and RESULT["build_seconds"]["production"] > 0
    assert RESULT["image"]["compressed_mb"] < RESULT["image"]["image_mb"]


@pytest.mark.parametrize("name", OURS)
def test_the_kept_result_has_the_command_of_every_service(name: str):
    command = " ".join(SERVICES[name]["command"])
    assert [check for check in RESULT["checks"] if check["name"].startswith(f"{name}: `{command}` ")]


def test_what_gets_sigterm_ended_within_its_grace():
    stops = [check["figures"] for check in RESULT["checks"] if "stop_seconds" in check["figures"]]
    assert len(stops) == 4 and all(stop["stop_seconds"] < stop["grace_seconds"] for stop in stops)


def test_the_kept_result_names_no_place_of_the_machine():
    texts = json.dumps([RESULT["base"], RESULT["machine"], RESULT["tools"], RESULT["checks"]])
    assert re.findall(r"/(?:home|root|work|Users)/|https?://", texts) == []


def test_the_document_says_whether_the_base_was_a_stand_in():
    text = (ROOT / "docs/image.md").read_text()
    assert RESULT["base"]["is_stand_in"] == ("stand-in" in text)
    assert f"{RESULT['image']['image_mb']:.0f} MB" in text and f"{RESULT['image']['compressed_mb']:.0f} MB" in text
