"""Which tables and columns of the old database stand for ours: visibility/data/legacy.yaml, or what differs from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from visibility.errors import InvalidFile

DEFAULT = Path(__file__).parents[1] / "data" / "legacy.yaml"


class SourceTable(BaseModel):
    """One table (or query) of the old system; `columns` from our names to its names, `?` where one may be missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str | None = None
    query: str | None = None
    columns: dict[str, str | None]
    optional: bool = False
    said: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> SourceTable:
        if (self.table is None) == (self.query is None):
            raise ValueError("either table or query is given, not both")
        return self

    @property
    def origin(self) -> str:
        """What stands behind FROM, quoted."""
        if self.query is not None:
            return f"({_escaped(self.query.strip().rstrip(';'))}\n) AS source"  # its last line may be a comment
        return f"{'.'.join(map(quoted, str(self.table).split('.')))} AS source"

    @property
    def described(self) -> str:
        """The table's name, or that it is a query."""
        return self.table or "(query)"

    def needed(self) -> dict[str, str]:
        """Return our name → the old one of the columns that must be there."""
        return {ours: theirs for ours, theirs in self.columns.items() if theirs and not theirs.endswith("?")}

    def column(self, ours: str) -> str | None:
        """Return the old name of one of our columns, None where the old system has none."""
        theirs = self.columns.get(ours)
        return theirs.rstrip("?") if theirs else None

    def select(self, found: Collection[str]) -> str:
        """Return a SELECT that gives the columns under our names, NULL for what is not `found`."""
        shown = []
        for ours in self.columns:
            theirs = self.column(ours)
            shown.append(f"{f'source.{quoted(theirs)}' if theirs and theirs in found else 'NULL'} AS {ours}")
        return f"SELECT {', '.join(shown)} FROM {self.origin}"


LegacyMapping = Mapping[str, SourceTable | None]


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + _escaped(name.replace('"', '""')) + '"'


def _escaped(statement: str) -> str:
    """A colon is a colon, and begins no parameter of SQLAlchemy's text()."""
    return statement.replace(":", r"\:")


def read_mapping(path: Path | None = None) -> LegacyMapping:
    """Return where each thing stands; None: the old system has no such table.

    Raises InvalidFile for a file that is no mapping, or names what we do not know.
    """
    known = _read(DEFAULT)
    given = {} if path is None else _read(path)
    return {name: _merged(path or DEFAULT, name, default, given) for name, default in known.items()} | _unknown(
        path, set(given) - set(known), known
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidFile(f"{path}: this cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InvalidFile(f"{path}: this is no mapping of our names to the old system's tables.")
    return content


def _unknown(path: Path | None, names: set[str], known: Collection[str]) -> dict[str, None]:
    if names:
        raise InvalidFile(f"{path}: {', '.join(sorted(map(str, names)))} is not known; known are {', '.join(known)}.")
    return {}


def _merged(path: Path, name: str, default: dict[str, Any], given: dict[str, Any]) -> SourceTable | None:
    """A given table keeps the default's columns that it does not name."""
    if name not in given:
        return SourceTable.model_validate(default)
    entry = given[name]
    if entry is None:
        return None
    try:
        origin = {} if {"table", "query"} & set(entry) else {key: default.get(key) for key in ("table", "query")}
        rest = {"optional": default.get("optional", False), "said": default.get("said", False)}
        columns = default["columns"] | entry.get("columns", {})
        if strange := set(columns) - set(default["columns"]):
            raise ValueError(f"columns are {', '.join(default['columns'])}, not {', '.join(sorted(strange))}")
        return SourceTable.model_validate(rest | origin | entry | {"columns": columns})
    except (TypeError, ValueError, ValidationError) as error:
        sentence = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidFile(f"{path}: {name}: {sentence}.") from error
