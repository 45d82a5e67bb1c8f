"""A report as one HTML page: no script, nothing from elsewhere, every text of others escaped.

The same report gives the same bytes; the time at which it was made is part of the report.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from visibility.report.content import Report
from visibility.report.sections import member_sections, sections
from visibility.report.tables import Cell
from visibility.report.words import MEANINGS, TITLES, interval, together, written
from visibility.store.report_lists import Passage

if TYPE_CHECKING:
    from jinja2 import Template

UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")  # text direction too
HEADLINES = ("mention_rate", "share_of_voice_by_mentions", "average_rank", "sentiment_index", "owned_citation_rate")
SPAN_SEPARATOR = " || "  # between the passages of one answer, as org_evals.mention_text has them
LONGEST_PASSAGE = 1200  # characters on the page; findings.csv has all


def render(report: Report) -> str:
    """Return the page."""
    return _template().render(
        report=report,
        sections=list(sections(report)),
        members=list(member_sections(report)),
        cards=[] if report.empty else _cards(report),
        notes=_notes(report),
        names={member.org_id: member.name for member in report.members},
        titles=TITLES,
        meanings=MEANINGS,
        quotes=_quotes,
    )


def _cards(report: Report) -> list[tuple[str, Cell]]:
    """Return the figures that stand on top, coverage first: title, value, and below it interval and n."""
    metrics = report.overall
    coverage = Cell(written("coverage", metrics.coverage.value), f"{metrics.answered:,} of {metrics.expected:,} runs")
    cards = [(TITLES["coverage"], coverage)]
    for name in HEADLINES:
        figure = getattr(metrics, name)
        small = " · ".join(
            part for part in (interval(figure) or figure.reason, f"n {figure.n:,} {figure.unit}") if part
        )
        cards.append((TITLES[name], Cell(written(name, figure.value), small)))
    return cards


def _notes(report: Report) -> list[str]:
    """Return what a reader must know before any number."""
    notes = []
    if report.window.sandbox:
        notes.append("SIMULATED: every answer is of the sandbox. Nothing here says anything about a real assistant.")
    if report.empty:
        notes.append(f"Nothing was asked between {report.window.since} and {report.window.until}: there is no figure.")
    if report.other_origin:
        other = "real" if report.window.sandbox else "simulated"
        notes.append(f"{report.other_origin:,} {other} runs of the same window are left out.")
    if len(report.versions) > 1:
        notes.append(
            f"{len(report.versions)} extractor versions have read these answers: a difference may be theirs. A "
            "re-evaluation reads all of them with one."
        )
    if len(report.models) > 1 and not report.empty:
        notes.append(f"Figures without a model's name are of {together(report.models)}.")
    return notes


def _quotes(passage: Passage) -> list[str]:
    """Return the passages of one answer, verbatim; what is too long for a page is cut, and says so."""
    parts = passage.text.split(SPAN_SEPARATOR)
    return [part if len(part) <= LONGEST_PASSAGE else f"{part[:LONGEST_PASSAGE]} […]" for part in parts]


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("visibility.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    return environment.get_template("report.html")


def _plain(value: Any) -> Any:
    """Take out of a text what would steer a reader's screen; markup, which is ours, stays as it is."""
    return UNPRINTABLE.sub(" ", value) if type(value) is str else value
