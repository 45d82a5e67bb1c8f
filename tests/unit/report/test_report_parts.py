"""Parts of a report by themselves: its window, its charts, its folder, cells that are no formulas."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.errors import InvalidInput
from visibility.metrics import Figure
from visibility.report.charts import Point, in_bars, in_rows, over_time
from visibility.report.exports import FORMULA_SIGNS, without_formula
from visibility.report.folders import check_writable, folder_of, move_into_place, unfinished
from visibility.report.window import report_window
from visibility.report.words import difference, interval, joined, written
from visibility.store.report_sums import ReportWindow

TODAY, ID = date(2026, 11, 30), UUID("6f6c1d1e-0000-4000-8000-000000000000")
KNOWN = {"today": TODAY, "sandbox": False}


def test_the_usual_window_is_thirty_days_until_today():
    assert report_window(ID, None, None, None, **KNOWN) == ReportWindow("org", ID, date(2026, 11, 1), TODAY, False)


def test_a_network_and_a_window_of_one_day_are_taken_as_given():
    day = date(2026, 3, 1)
    assert report_window(None, ID, day, day, **KNOWN) == ReportWindow("network", ID, day, day, False)


@pytest.mark.parametrize(
    ("org_id", "network_id", "since", "until"),
    [(None, None, None, None), (ID, ID, None, None), (ID, None, date(2026, 12, 1), None)],
)
def test_a_window_without_one_owner_or_that_ends_before_it_begins_is_refused(org_id, network_id, since, until):
    with pytest.raises(InvalidInput):
        report_window(org_id, network_id, since, until, **KNOWN)


def lines_of(svg: str) -> int:
    """How many separate strokes the series' line has."""
    path = max(re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #1f5fa8', svg), key=len)
    return path.count("M ")


def drawn(points: dict[date, Point]) -> str:
    return over_time("t", "alt", {"chatgpt": points}, percent=True, limits=(0, 1))


def test_a_missing_date_and_a_missing_value_are_gaps():
    days = {TODAY + timedelta(days=place): Point(0.5) for place in range(9)}
    assert lines_of(drawn(days)) == 1
    without = {day: point for day, point in days.items() if day != TODAY + timedelta(days=4)}
    assert lines_of(drawn(without)) == 2
    assert lines_of(drawn({**days, TODAY + timedelta(days=4): Point(None)})) == 2


def test_weekly_dates_are_no_gaps():
    assert lines_of(drawn({TODAY + timedelta(days=7 * place): Point(0.5) for place in range(5)})) == 1


def test_a_chart_of_hostile_labels_has_them_as_text_only():
    label = '<script>"$x^$&東京\x1b'  # two letters that matplotlib has no glyph for
    for svg in (
        in_rows("r", label, {label: Point(0.2, 0.1, 0.3), "none": Point(None)}, percent=True, limits=(0, 1)),
        in_bars("b", label, {label: 0.2}, [label], percent=True),
        over_time("t", label, {label: {TODAY: Point(0.2)}}, percent=False, limits=(0, 1)),
    ):
        assert "<script" not in svg and "&lt;script&gt;" in svg
        assert "$x^$" in svg


def test_the_same_numbers_draw_the_same_bytes_and_charts_share_no_id():
    rows = {"a": Point(0.2, 0.1, 0.3)}
    one, again, other = (in_rows(name, "alt", rows, percent=True, limits=(0, 1)) for name in ("x", "x", "y"))
    assert one == again
    assert set(re.findall(r'\sid="([^"]+)"', one)).isdisjoint(re.findall(r'\sid="([^"]+)"', other))
    assert "font-family" not in one and "<metadata" not in one and "<!--" not in one


@given(st.text(max_size=8), st.sampled_from([*FORMULA_SIGNS, " =", "  +"]))
def test_no_cell_begins_as_a_formula(rest: str, sign: str):
    safe = without_formula(sign + rest)
    assert safe == f"'{sign}{rest}"


@pytest.mark.parametrize("cell", ["plain", "a=b", "", None, -0.5, True, date(2026, 1, 1)])
def test_other_cells_stay_as_they_are(cell: object):
    assert without_formula(cell) is cell


def test_a_folder_is_named_for_people_and_cannot_leave_its_place():
    window = ReportWindow("org", ID, date(2026, 11, 1), TODAY, False)
    made_at = datetime(2026, 11, 30, 22, 5, 6, tzinfo=UTC)
    assert folder_of("Müller & Söhne", window, made_at) == (
        "muller-sohne-6f6c1d1e/2026-11-01_2026-11-30-20261130T220506Z"
    )
    assert folder_of("../../etc", window, made_at).startswith("etc-6f6c1d1e/")
    assert folder_of("東京", window, made_at).startswith("6f6c1d1e/")


def test_a_report_that_breaks_leaves_nothing(tmp_path: Path):
    def breaks() -> None:
        with unfinished(tmp_path) as scratch:
            (scratch / "report.html").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_report_takes_no_others_place(tmp_path: Path):
    names = []
    for number in range(3):
        with unfinished(tmp_path) as scratch:
            (scratch / "report.html").write_text(str(number))
            names.append(move_into_place(scratch, tmp_path / "owner" / "window").name)
    assert names == ["window", "window-2", "window-3"]
    assert [(tmp_path / "owner" / name / "report.html").read_text() for name in names] == ["0", "1", "2"]


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="Reports cannot be written to"):
        check_writable(tmp_path / "file")


def test_values_are_written_with_their_unit():
    assert (written("mention_rate", 0.1234), written("average_rank", 2), written("sentiment_index", -0.5)) == (
        "12.3\u00a0%", "2.00", "−0.50",
    )  # fmt: skip
    assert (difference("mention_rate", -0.1), difference("average_rank", 0.25)) == ("−10.0\u00a0pp", "+0.25")
    assert difference("mention_rate", -0.0001) == "+0.0\u00a0pp"
    assert interval(Figure("mention_rate", 0.2, 10, "u", 0.1, 0.3, 1)).replace("\u00a0", " ") == "10.0 to 30.0 %"
    assert [joined(names) for names in ([], ["a"], ["a", "b", "c"])] == ["no model", "a", "a, b and c"]
