"""What an import did, or would do: counts per table, and one sentence for each row that is not taken as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from visibility.errors import InvalidInput


@dataclass(slots=True)
class Counts:
    """Rows of one of our tables: made, altered, removed, found as they should be; refused; told twice by the source."""

    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be known about one row of the old system; `skipped`: it was not taken over."""

    table: str
    key: str
    sentence: str
    skipped: bool

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.sentence}."


@dataclass(slots=True)
class Report:
    """Filled while an import runs; `strict` makes the first row that cannot be taken over end it."""

    strict: bool = False
    dry_run: bool = False
    tables: dict[str, Counts] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def counts(self, table: str) -> Counts:
        """Return the counts of a table, to be added to."""
        return self.tables.setdefault(table, Counts())

    def skip(self, table: str, key: object, sentence: str, rows: int = 1) -> None:
        """A row, or several for one reason, are not taken over. Raises InvalidInput when strict."""
        remark = Remark(table, str(key), sentence, skipped=True)
        if self.strict:
            raise InvalidInput(f"{remark} Stopped, as --strict asks; what was finished before is kept.")
        self.counts(table).skipped += rows
        self.remarks.append(remark)

    def repeat(self, table: str, key: object, sentence: str) -> None:
        """The source says something twice; once is enough."""
        self.counts(table).repeated += 1
        self.note(table, key, sentence)

    def note(self, table: str, key: object, sentence: str) -> None:
        """A row is taken over, but not as it was."""
        self.remarks.append(Remark(table, str(key), sentence, skipped=False))

    @property
    def changes(self) -> int:
        """How many rows of ours are other than before."""
        return sum(counts.created + counts.updated + counts.removed for counts in self.tables.values())

    def as_document(self) -> dict[str, Any]:
        """Return everything for a program."""
        return {
            "dry_run": self.dry_run,
            "tables": {name: asdict(counts) for name, counts in self.tables.items()},
            "remarks": [asdict(remark) for remark in self.remarks],
        }
