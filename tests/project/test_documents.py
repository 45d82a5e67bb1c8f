"""A stranger who follows README.md types commands that exist, and finds every setting explained."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import AliasChoices
from pydantic_settings import BaseSettings
from sqlalchemy import text

from visibility.settings import BrightDataSettings, LlmSettings, Settings
from visibility.store.database import Database

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[str]:
    """Every line of the fenced `sh` blocks, continued lines joined, comments removed."""
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return sorted({stripped for line in lines if (stripped := re.sub(r"(^|\s)#.*", "", line).strip())})


def python_commands() -> list[tuple[str, str]]:
    """(module with its subcommand, options used) of every `python -m …` line."""
    found = []
    for line in commands():
        if match := re.search(r"python -m (\S+)((?: [a-z][a-z-]*\b(?![./=]))?)(.*)", line):
            module, subcommand, rest = match.groups()
            takes_subcommand = module in ("deployments.local", "visibility.legacy", "visibility.billing")
            found.append((module + (subcommand if takes_subcommand else ""), rest))
    return found


# All commands in one process, which imports once what they share
HELP = """
import contextlib, io, json, runpy, sys
said = {}
for command in json.loads(sys.argv[1]):
    module, *subcommand = command.split()
    sys.argv = [module, *subcommand, "--help"]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    status = 0
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            status = ended.code or 0
    out.flush()
    said[command] = (status, out.buffer.getvalue().decode())
print(json.dumps(said))
"""


@cache
def helps() -> dict[str, tuple[object, str]]:
    """Return the exit status of each command of the documents, and what it says of itself."""
    asked = json.dumps(sorted({command for command, _ in python_commands()}))
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    result = subprocess.run(
        [sys.executable, "-c", HELP, asked], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, tuple[object, str]] = json.loads(result.stdout)
    return found


def setting_names() -> list[str]:
    names = []
    for model in (Settings, BrightDataSettings, LlmSettings):
        for field_name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings):
                continue
            alias = field.validation_alias
            assert not isinstance(alias, AliasChoices)
            names.append(str(alias) if alias else f"{model.model_config.get('env_prefix', '')}{field_name}".upper())
    return names


@pytest.mark.parametrize("line", [line for line in commands() if re.search(r"\bmake\b", line)])
def test_every_make_target_of_the_documents_exists(line: str):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in shlex.split(line.split("make ")[1]) if "=" not in word} <= targets


@pytest.mark.parametrize("command", sorted({command for command, _ in python_commands()}))
def test_every_python_command_of_the_documents_explains_itself(command: str):
    options = {
        option for other, rest in python_commands() if other == command for option in re.findall(r"--[a-z-]+", rest)
    }
    status, said = helps()[command]
    assert status == 0 and said
    assert {option for option in options if option not in said} == set()


def test_every_query_of_the_documents_runs_on_the_current_schema(database: Database):
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```sql\n(.*?)```", path.read_text(), re.DOTALL)]
    statements = [text(part) for block in blocks for part in re.sub(r"--.*", "", block).split(";")]
    with database.transaction() as session:
        for statement in statements:
            if str(statement).strip().startswith("select"):
                session.execute(statement, dict.fromkeys(statement.compile().params, uuid4()))


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_is_explained_in_the_readme(name: str):
    assert f"`{name}`" in (ROOT / "README.md").read_text()


def test_the_example_environment_names_only_settings_that_exist():
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {match.group(1) for line in lines if (match := re.match(r"#?\s?([A-Z][A-Z_]+)=", line))}
    assert named - set(setting_names()) - {"PREFECT_API_URL", "PREFECT_API_KEY"} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_links_to_exists(path: Path):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
