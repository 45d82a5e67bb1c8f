"""Nothing phones home: what we start has every reporting off, and `make demo` needs no network at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local.environment import child_environment
from deployments.local.prefect_server import TUNED_SETTINGS
from tests.support import dockerfile
from tests.support.environment import NETWORK_LOG, network_attempts
from tests.support.namespaces import without_network

ROOT = Path(__file__).parents[2]
OFF = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
REPORTING = """
from prefect.analytics import is_telemetry_enabled
from prefect.settings import get_current_settings
print(is_telemetry_enabled(), get_current_settings().server.analytics_enabled)
"""
SWITCHED_OFF = "import os; off = os.environ['DO_NOT_TRACK'] == '1'; print(not off, not off)"
# what the kernel counts when a process of any language wants to reach what is not there
COUNTED = """
import pathlib
counters = [line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
print("without a route:", dict(zip(*counters))["OutNoRoutes"])
"""
ATTEMPT = "import socket; socket.socket().connect_ex(('192.0.2.1', 9))"
SCRIPT = """
set -e
trap '"$0" -m deployments.local down' EXIT
"$0" {command} --time-scale 300
"$0" -c "$1"
"$0" -I -c "$2"
"$0" -c "$1"
"""


def test_our_server_reports_to_nobody_and_neither_does_its_page():
    """The second UI asks Amplitude for a configuration whatever the first setting says (seen with Chromium)."""
    assert TUNED_SETTINGS["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert TUNED_SETTINGS["PREFECT_SERVER_UI_V2_ENABLED"] == "false"
    assert TUNED_SETTINGS["PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT"] == "false"


def test_what_we_start_locally_and_the_image_report_to_nobody(tmp_path: Path):
    assert child_environment(tmp_path, {})["DO_NOT_TRACK"] == "1"
    assert {name: dockerfile.environment()[name] for name in OFF} == OFF


def test_what_is_imported_from_us_reports_to_nobody_also_without_any_setting():
    bare = {name: value for name, value in os.environ.items() if name not in OFF}
    for module, script in (("flows.org_evaluation", REPORTING), ("deployments", SWITCHED_OFF)):
        said = subprocess.run(
            [sys.executable, "-c", f"import {module}\n{script}"], cwd=ROOT, env=bare, capture_output=True, text=True
        )
        assert said.stdout == "False False\n", said.stderr


@pytest.mark.slow
def test_the_demo_runs_without_a_network_and_nothing_tries_to_use_one(tmp_path: Path):
    (command,) = re.findall(r"^demo:.*\n\t@\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folder = Path(os.environ["TEST_RUN_FOLDER"]) / "demo"
    environment = {name: value for name, value in os.environ.items() if name not in OFF} | {
        "VISIBILITY_DATA_FOLDER": str(folder), NETWORK_LOG: str(tmp_path / "attempts"),
    }  # fmt: skip
    said = subprocess.run(
        without_network(["/bin/sh", "-c", SCRIPT.format(command=command), sys.executable, COUNTED, ATTEMPT]),
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert "Northwind Heating" in said.stdout
    assert re.findall(r"without a route: (\d+)", said.stdout) == ["0", "1"]  # the demo's, then that of an attempt
    assert network_attempts(tmp_path / "attempts") == []
