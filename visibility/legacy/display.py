"""How an import and a comparison are shown: tables in the terminal, rows for a file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from visibility.display import NOTHING, printable, table
from visibility.errors import InvalidInput
from visibility.legacy.comparison import MEASURES, Difference, Totals, summed
from visibility.legacy.report import Report
from visibility.legacy.source import Finding

REMARKS_PER_TABLE = 10
MISSING = {"skipped": "Rows that cannot be taken", "waiting": "Batches that the old system has not finished"}
TITLES = {"runs": "runs", "mentions": "mentions", "cost": "cost USD", "charged": "charged USD"}
SCOPES = {"org": "own questions", "member": "network's questions", "network": "network"}


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print what of the old database was found, and what hinders an import."""
    console.print(table([_finding_row(finding) for finding in findings]))
    hindered = [finding.name for finding in findings if finding.hinders]
    console.print(f"\nmissing: {', '.join(hindered)}" if hindered else "\nEverything that an import needs is there.")


def _finding_row(finding: Finding) -> dict[str, str]:
    if not finding.there:
        told = finding.reason + (" (can be missing)" if finding.optional else "")
    elif finding.missing:
        told = f"lacks {', '.join(finding.missing)}"
    else:
        told = f"found, without {', '.join(finding.left_out)}" if finding.left_out else "found"
    return {
        "what": finding.name,
        "old table": finding.where,
        "name is": "said" if finding.said else "assumed",
        "result": told,
    }


def print_report(report: Report, console: Console) -> None:
    """Print counts per table, and the first sentences of each about rows that were not taken as they are."""
    rows = [
        {"table": name, **{word: str(getattr(counts, word)) for word in counts.__slots__}}
        for name, counts in report.tables.items()
    ]
    console.print()
    console.print(table(rows))
    shown: Counter[str] = Counter()
    for remark in report.remarks:
        shown[remark.table] += 1
        if shown[remark.table] <= REMARKS_PER_TABLE:
            console.print(f"{'skipped' if remark.skipped else 'note'}: {printable(str(remark))}", soft_wrap=True)
    for name, number in shown.items():
        if number > REMARKS_PER_TABLE:
            console.print(f"… and {number - REMARKS_PER_TABLE} more of {name}; --json shows all")
    console.print(f"\n{headline(report)}", soft_wrap=True)


def headline(report: Report) -> str:
    """Say in one line what was or would be changed, and what is not there after it."""
    counted = {word: report.sum_of(word) for word in ("skipped", "waiting")}
    missing = [f"{MISSING[word]}: {number}." for word, number in counted.items() if number]
    if report.dry_run:
        told = f"Dry run: {report.changes} rows would be changed; nothing was."
    elif report.changes:
        told = f"{report.changes} rows changed."
    else:
        told = "Nothing changed." if missing or report.failures else "Nothing changed: everything was there."
    balances = [
        f"The balance of {remark.key} is not the old one: {remark.sentence}." for remark in report.balances_left_out
    ]
    return " ".join([told, *missing, *map(printable, balances)])


def print_differences(differences: Sequence[Difference], everything: bool, console: Console) -> None:
    """Print the lines that are beyond the tolerances (or all), and the sums of both sides."""
    shown = [difference for difference in differences if everything or difference.beyond]
    if shown:
        console.print("\nold → new, ! beyond the tolerance")
        console.print(table([_row(difference) for difference in shown]))
    verdicts = Counter(difference.verdict for difference in differences)
    told = ", ".join(f"{number} {word}" for word, number in verdicts.items()) or NOTHING
    console.print(f"\n{len(differences)} compared: {told}")
    for scope, label in SCOPES.items():
        of_scope = [difference for difference in differences if difference.subject.scope == scope]
        if of_scope:
            old, new = summed([side.old for side in of_scope]), summed([side.new for side in of_scope])
            console.print(f"{label}: " + " · ".join(f"{name} {_pair(name, old, new)}" for name in MEASURES))


def _row(difference: Difference) -> dict[str, str]:
    measures = {
        TITLES[name]: f"{_pair(name, difference.old, difference.new)}{' !' if name in difference.beyond else ''}"
        for name in MEASURES
    }
    return {
        "day": difference.subject.day.isoformat(),
        "what": SCOPES[difference.subject.scope],
        "whose": printable(difference.name),
        **measures,
        "verdict": difference.verdict,
    }


def _pair(measure: str, old: Totals | None, new: Totals | None) -> str:
    return f"{_figure(measure, old)} → {_figure(measure, new)}"


def _figure(measure: str, side: Totals | None) -> str:
    if side is None:
        return NOTHING
    value = getattr(side, measure)
    return f"{value:.2f}" if measure in ("cost", "charged") else f"{value:.0f}"


def records(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return plain rows, one per difference: amounts as text, counts as numbers, None where a side has nothing."""
    return [_record(difference) for difference in differences]


def _record(difference: Difference) -> dict[str, Any]:
    sides = {
        f"{name}_{word}": None if side is None else _plain(name, getattr(side, name))
        for name in MEASURES
        for word, side in (("old", difference.old), ("new", difference.new))
    }
    subject = difference.subject
    origin = {"day": subject.day.isoformat(), "scope": subject.scope, "id": str(subject.id), "name": difference.name}
    return origin | sides | {"beyond": " ".join(difference.beyond), "verdict": difference.verdict}


def _plain(measure: str, value: Any) -> Any:
    return f"{value:.6f}" if measure in ("cost", "charged") else int(value)


def write_csv(differences: Sequence[Difference], path: Path) -> None:
    """Write one line per difference, with titles. Raises InvalidInput when the file cannot be made."""
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
    titles = ["day", "scope", "id", "name", *(f"{name}_{word}" for name in MEASURES for word in ("old", "new"))]
    with file:
        writer = csv.DictWriter(file, [*titles, "beyond", "verdict"])
        writer.writeheader()
        writer.writerows(records(differences))
