"""The shape of the code: architecture, «Size and shape»."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("visibility", "blocks", "tasks", "flows", "sandbox", "deployments", "benchmarks", "evals")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "util"}

files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
tests = sorted((ROOT / "tests").rglob("*.py"))


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and length in lines of every function of a file, from `def` to the last line."""
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [(f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1) for node in found]


def lengths() -> list[int]:
    return [length for path in files for _, length in functions(path)]


def test_no_function_is_longer_than_60_lines():
    assert [found for path in files for found in functions(path) if found[1] > 60] == []


def test_the_median_function_has_at_most_9_lines():
    assert median(lengths()) <= 9


def test_nine_of_ten_functions_have_at_most_30_lines():
    assert quantiles(lengths(), n=10)[-1] <= 30


def test_no_file_is_longer_than_400_lines():
    assert {str(path.relative_to(ROOT)): n for path in files + tests if (n := line_count(path)) > 400} == {}


def test_the_median_file_has_at_most_130_lines():
    assert median(line_count(path) for path in files if line_count(path) > 1) <= 130


@pytest.mark.parametrize("path", files + tests, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_named_after_nothing(path: Path):
    assert path.stem not in FORBIDDEN_NAMES


def test_tests_have_no_packages():
    assert [str(path) for path in tests if path.name == "__init__.py"] == []


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines())
