"""What an import did, or would do: counts per table, and one sentence for each row that is not taken as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from visibility.errors import InvalidInput

BALANCES = "credit_balances"
OURS = {  # the table that gets what the old system has under one of our names for it
    "websites": "org_websites",
    "models": "geo_models",
    "locations": "locations",
    "questions": "geo_questions",
    "schedules": "schedules",
    "pricing": "pricing_configs",
    "balances": BALANCES,
    "org_batches": "evaluation_batches",
    "network_batches": "evaluation_batches",
    "evaluations": "org_evals",
    "network_evaluations": "org_evals",
    "competitors": "org_competitors",
    "citations": "org_citations",
    "ledger": "partner_usage_ledger",
}


@dataclass(slots=True)
class Counts:
    """Rows of one of our tables: made, altered, removed, found as they should be; refused; told twice by the source;
    left for a later import, because the old system has not finished them.
    """

    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    repeated: int = 0
    waiting: int = 0


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
    failures: list[str] = field(default_factory=list)

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

    def wait(self, table: str, key: object, sentence: str) -> None:
        """The old system still works on it."""
        self.counts(table).waiting += 1
        self.note(table, key, sentence)

    def note(self, table: str, key: object, sentence: str) -> None:
        """A row is taken over, but not as it was."""
        self.remarks.append(Remark(table, str(key), sentence, skipped=False))

    @property
    def changes(self) -> int:
        """How many rows of ours are other than before."""
        return sum(self.sum_of(word) for word in ("created", "updated", "removed"))

    def sum_of(self, word: str) -> int:
        """Return the sum of one count over all tables."""
        return sum(getattr(counts, word) for counts in self.tables.values())

    @property
    def balances_left_out(self) -> list[Remark]:
        """Balances that are not taken over: without them nothing else of a payer is right."""
        return [remark for remark in self.remarks if remark.skipped and remark.table == BALANCES]

    def as_document(self) -> dict[str, Any]:
        """Return everything for a program."""
        return {
            "dry_run": self.dry_run,
            "failures": self.failures,
            "tables": {name: asdict(counts) for name, counts in self.tables.items()},
            "remarks": [asdict(remark) for remark in self.remarks],
        }
