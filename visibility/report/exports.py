"""A report's numbers as CSV and Parquet: figures, changes, and one row per evaluated answer.

CSV is for spreadsheets, which run a text that looks like a formula: such a text has an apostrophe before it there.
Parquet has every text as it is. pandas and pyarrow are imported on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.orm import Session

from visibility.report.content import Report
from visibility.report.figure_rows import ChangeRow, FigureRow, change_rows, figure_rows
from visibility.store.report_findings import PORTION, stream_findings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")  # what makes a cell a formula, also in its wide form
KINDS = {
    "date": "run_date before_date after_date",
    "flag": "mentioned own_site_cited grounded simulated",
    "count": "n left_out before_n after_n mention_rank competitors citations own_citations replicate",
    "number": "value low high coverage before after before_coverage after_coverage difference share_of_voice",
    "money": "answer_cost_usd evaluation_cost_usd",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}  # all others are texts
FIGURE_COLUMNS = tuple(field.name for field in fields(FigureRow))
CHANGE_COLUMNS = tuple(field.name for field in fields(ChangeRow))
FINDING_COLUMNS = (
    "question_run_id", "run_date", "org_id", "org", "question_id", "question", "tags", "model", "answered_by",
    "location", "country_code", "region", "city", "replicate", "applied_country", "grounded", "extractor_version",
    "mentioned", "reason", "mention_rank", "share_of_voice", "sentiment", "own_site_cited", "passages", "competitors",
    "competitor_names", "citations", "own_citations", "cited_urls", "answer_cost_usd", "evaluation_cost_usd",
    "simulated",
)  # fmt: skip
Values = Sequence[Any]


def export(session: Session, report: Report, org_ids: Sequence[UUID], folder: Path) -> list[str]:
    """Write figures, changes and findings into the folder, each as CSV and Parquet; return the files' names."""
    findings = ([(*row, report.window.sandbox) for row in part] for part in _findings(session, report, org_ids))
    names = _write(folder, "figures", FIGURE_COLUMNS, _in_portions(figure_rows(report), FIGURE_COLUMNS))
    names += _write(folder, "changes", CHANGE_COLUMNS, _in_portions(change_rows(report), CHANGE_COLUMNS))
    return names + _write(folder, "findings", FINDING_COLUMNS, findings)


def _findings(session: Session, report: Report, org_ids: Sequence[UUID]) -> Iterable[Sequence[Any]]:
    return stream_findings(session, report.window, org_ids)


def _in_portions(rows: Iterator[Any], columns: Sequence[str]) -> Iterator[Sequence[Values]]:
    while portion := [tuple(getattr(row, name) for name in columns) for row in islice(rows, PORTION)]:
        yield portion


def _write(folder: Path, name: str, columns: Sequence[str], portions: Iterable[Sequence[Values]]) -> list[str]:
    """Write the portions to `<name>.csv` and `<name>.parquet`; also without a row there are columns."""
    csv, parquet = f"{name}.csv", f"{name}.parquet"
    with _csv_file(folder / csv, columns) as text, _parquet_file(folder / parquet, columns) as binary:
        for portion in portions:
            frame = _frame(columns, portion)
            binary.write_table(_table(frame, columns))
            _append(text, _safe_for_spreadsheets(frame))
    return [csv, parquet]


@contextmanager
def _csv_file(path: Path, columns: Sequence[str]) -> Iterator[IO[str]]:
    """Begin with a mark by which spreadsheets know UTF-8, and the names of the columns."""
    with path.open("w", encoding="utf-8-sig", newline="") as text:
        text.write(",".join(columns) + "\n")
        yield text


@contextmanager
def _parquet_file(path: Path, columns: Sequence[str]) -> Iterator[pq.ParquetWriter]:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, _schema(columns), compression="zstd") as binary:
        yield binary


def _frame(columns: Sequence[str], rows: Sequence[Values]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns), dtype="object")


def _append(text: IO[str], frame: pd.DataFrame) -> None:
    frame.to_csv(text, header=False, index=False, lineterminator="\n")


def _safe_for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    texts = [name for name in frame.columns if name not in KIND_OF]
    return frame.assign(**{name: frame[name].map(without_formula) for name in texts})


def without_formula(cell: object) -> object:
    """Return a text that no spreadsheet takes for a formula: where it would, behind an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA_SIGNS) else cell


def _table(frame: pd.DataFrame, columns: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    schema = _schema(columns)
    arrays = [pa.array(frame[name].tolist(), schema.field(name).type) for name in columns]
    return pa.Table.from_arrays(arrays, schema=schema)


def _schema(columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    types = _types()
    return pa.schema([(name, types[KIND_OF.get(name, "text")]) for name in columns])


def _types() -> Mapping[str, pa.DataType]:
    import pyarrow as pa

    return {
        "text": pa.string(),
        "date": pa.date32(),
        "flag": pa.bool_(),
        "count": pa.int64(),
        "number": pa.float64(),
        "money": pa.decimal128(14, 6),
    }
