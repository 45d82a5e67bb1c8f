"""YAML as text values with line numbers, so that every complaint can name its line.

Scalars stay text: YAML would read the country `NO` as false and the price 0.05 as a float.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from visibility.errors import InvalidFile

Place = tuple[str | int, ...]
MOST_NODES = 200_000  # aliases of aliases make a small file endless


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file: its values (mappings, lists, text, None) and the line (from 1) of every place in them."""

    path: Path
    values: dict[str, Any]
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """Return the line of a place; one that is not in the file has the line of what should hold it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def complaint(self, place: Place, message: str) -> str:
        """Return `file:line: field: message`."""
        return f"{self.path}:{self.line(place)}: {spelled(place)}: {message}"


def spelled(place: Place) -> str:
    """Return the place as people write it: `orgs[0].locations[1].country`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "file"


def read_source(path: Path) -> Source:
    """Parse a file that holds one mapping; raises InvalidFile with one sentence."""
    text = _read(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidFile(f"{path}:{line}: this is not valid YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise InvalidFile(f"{path}: this is not valid YAML: {str(error).splitlines()[0]}.") from error
    if root is None:
        raise InvalidFile(f"{path} is empty.")
    if not isinstance(root, yaml.MappingNode):
        raise InvalidFile(f"{path}:1: the file must hold a mapping with the keys partner, networks, orgs.")
    builder = _Builder(path)
    return Source(path, builder.build(root, ()), builder.lines)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InvalidFile(f"There is no file {path}.") from error
    except IsADirectoryError as error:
        raise InvalidFile(f"{path} is a folder, not a YAML file.") from error
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{path} is not a text file in UTF-8.") from error
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror}.") from error


class _Builder:
    """Turns YAML nodes into values and notes the line of each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Place, int] = {}

    def build(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if len(self.lines) > MOST_NODES or len(place) > 50:
            raise InvalidFile(f"{self.path} is too large or refers to itself.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*place, number)) for number, child in enumerate(node.value)]
        return None if node.tag == "tag:yaml.org,2002:null" else node.value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in values:
                raise InvalidFile(f"{self.path}:{line}: {spelled((*place, name))}: this key stands here twice.")
            self.lines[*place, name] = line
            values[name] = self.build(child, (*place, name))
        return values
