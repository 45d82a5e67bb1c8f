"""The sections of a report's page: what each says, draws and tabulates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from visibility.changes import CHANGE, ENOUGH_COVERAGE, ENOUGH_QUESTIONS
from visibility.report import drawings, tables
from visibility.report.content import Report
from visibility.report.drawings import Chart
from visibility.report.tables import Cell, Table
from visibility.report.words import TITLES, joined, together, written

LISTED_DATES = 60  # on the page; figures.csv has all
LISTED_MEMBERS = 100


@dataclass(frozen=True, slots=True)
class Panel:
    """A table with its charts beside it; `wide`: the charts stand above the table, which needs the room."""

    table: Table
    charts: tuple[Chart, ...] = ()
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A section with a heading; passages are shown by the page itself."""

    anchor: str
    title: str
    texts: tuple[str, ...]
    panels: tuple[Panel, ...] = ()


def sections(report: Report) -> Iterator[Section]:
    """Give the sections in the order of the page; of an empty window only that it is empty."""
    if report.empty:
        return
    yield _key_figures(report)
    yield _changes(report)
    if report.is_network:
        yield _leaderboard(report)
    yield _coverage(report)
    yield _models(report)
    yield _dates(report)
    for breakdown in ("location", "question", "tag"):
        yield _breakdown(report, breakdown)
    yield Section("cells", "Named and cited", (CELLS,), (Panel(tables.cells(report.overall)),))
    yield _brands(report)
    yield _domains(report)
    yield _costs(report)


def member_sections(report: Report) -> Iterator[Section]:
    """Give a section per member of a network, in the order of the leaderboard, at most a hundred."""
    if report.empty:
        return
    for member in report.members[:LISTED_MEMBERS]:
        text = "It is no member any more." if member.left else ""
        panel = Panel(tables.member_figures(member, report.models))
        yield Section(f"member-{member.org_id}", f"Member: {member.name}", (text,) if text else (), (panel,))


def _leaderboard(report: Report) -> Section:
    members = report.members
    if not members:
        return Section("leaderboard", "Leaderboard of the members", ("The network has no member.",))
    rates = drawings.rates_of("members", "member", [(member.name, member.overall) for member in members])
    panel = Panel(tables.leaderboard(members), rates, wide=True)
    cut = f"The first {LISTED_MEMBERS} have a section of their own below; figures.csv has all."
    texts = (_all_models(report), *([cut] if len(members) > LISTED_MEMBERS else []))
    return Section("leaderboard", "Leaderboard of the members", texts, (panel,))


CELLS = "Evaluated answers by two questions: is the organisation named, and is its own site cited?"


def _key_figures(report: Report) -> Section:
    return Section("figures", "Key figures", (_all_models(report),), (Panel(tables.key_figures(report.overall)),))


def _all_models(report: Report) -> str:
    what = "All answers" if not report.is_network else "All answers, each read for every member"
    if len(report.models) < 2:
        return f"{what} are of one model: {joined(report.models)}."
    return f"{what}, of {together(report.models)}; models differ, so look at them one by one too."


def _changes(report: Report) -> Section:
    if not report.changes:
        return Section("change", "Change", ("There is one date only: nothing to compare it with.",))
    compared = report.changes
    whole = [one for one in compared if one.models == compared[0].models]
    per_model = [one for one in compared if one.models != compared[0].models]
    shown = [one for one in per_model if one.change.after.name == "mention_rate" or one.change.verdict == CHANGE]
    panels = [Panel(tables.changes(f"Last two dates, {together(compared[0].models)}", whole))]
    if shown:
        panels.append(Panel(tables.changes("Mention rate, and what has changed, of each model alone", shown)))
    return Section("change", "Change", (_changed(report), RULE), tuple(panels))


RULE = (
    f"A change is called one only where the 95 % interval of the difference leaves out 0, both dates have a coverage "
    f"of at least {ENOUGH_COVERAGE:.0%}, the same extractor version has read both, and the same models, locations and "
    f"questions were asked; an interval over questions takes {ENOUGH_QUESTIONS} of them. Of twenty figures that stay "
    f"the same, one will still look like a change by chance."
)


def _changed(report: Report) -> str:
    first = report.changes[0]
    changed = [one for one in report.changes if one.change.verdict == CHANGE]
    period = f"Between {first.change.before_date} and {first.change.after_date}"
    if not changed:
        return f"{period} nothing has changed by more than the noise."
    named = [f"{TITLES[one.change.after.name]} ({together(one.models)})" for one in changed]
    return f"{period} changed: {joined(named)}."


def _coverage(report: Report) -> Section:
    metrics = report.overall
    text = (
        f"{metrics.answered:,} of {metrics.expected:,} expected runs brought an answer. What failed is missing here "
        "and in no denominator below."
    )
    panels = [Panel(_by_date(report), drawings.coverage(report))]
    if report.failures:
        panels.insert(0, Panel(tables.failures(report)))
    return Section("coverage", "Coverage", (text, *_unread(report)), tuple(panels))


def _unread(report: Report) -> Iterator[str]:
    unread = report.overall.answered - sum(report.named.read.values())
    if unread > 0:
        yield f"{unread:,} answers were not evaluated: they count as covered and in no other figure."


def _by_date(report: Report) -> Table:
    dates = report.by("date")[-LISTED_DATES:]
    rows = tuple(
        (Cell(str(one.run_date)), Cell(written("coverage", one.metrics.coverage.value)),
         Cell(f"{one.metrics.answered:,} of {one.metrics.expected:,}"))
        for one in dates
    )  # fmt: skip
    titles = (Cell("date"), Cell("coverage"), Cell("answers", "of expected runs"))
    return Table(_latest("Coverage by date, all models together", len(report.dates)), titles, rows)


def _latest(caption: str, dates: int) -> str:
    return f"{caption}; the latest {LISTED_DATES} of {dates} dates" if dates > LISTED_DATES else caption


def _models(report: Report) -> Section:
    slices = report.by("model")
    chart = drawings.rates("models", "model", slices)
    text = "Each line is one model by itself."
    return Section(
        "models", "By model", (text,), (Panel(tables.breakdown("Figures by model", "model", slices), chart, True),)
    )


def _dates(report: Report) -> Section:
    latest = set(report.dates[-LISTED_DATES:])
    rows = [one for one in report.by("date and model") if one.run_date in latest]
    drawn = tuple(chart for name in drawings.SERIES for chart in drawings.series(report, name))
    table = tables.breakdown(_latest("Figures by date and model", len(report.dates)), "date · model", rows)
    text = GAPS if drawn else "There is one date only: nothing to draw."
    return Section("dates", "By date", (text,), (Panel(table, drawn, wide=True),))


GAPS = (
    "A panel per model, with 95 % intervals where there are any. A date without a batch, or without a value, is a gap "
    "and no zero."
)


def _breakdown(report: Report, breakdown: str) -> Section:
    slices = report.by(breakdown)
    title = f"By {breakdown}"
    texts = [_all_models(report)]
    if breakdown == "tag":
        if not any(question.tags for question in report.questions):
            return Section(breakdown, title, ("No question has a tag.",))
        texts.append("A question with two tags counts for both.")
    chart = drawings.rates(breakdown, breakdown, slices)
    if breakdown == "question":
        texts.append(
            "One question alone has no interval but for its rates: the others are intervals over questions."
            if not report.is_network
            else "One question alone has no interval: those of a network are intervals over questions."
        )
    table = tables.breakdown(f"Figures by {breakdown}", breakdown, slices)
    return Section(breakdown, title, tuple(texts), (Panel(table, chart, wide=True),))


def _brands(report: Report) -> Section:
    if not report.named.brands:
        return Section("competitors", "Competitors", ("No evaluated answer names another brand.",))
    text = "Other brands in the answers, counted once per answer, all models together and by model."
    return Section("competitors", "Competitors", (text,), (Panel(tables.brands(report), drawings.brands(report)),))


def _domains(report: Report) -> Section:
    if not report.named.domains:
        return Section("domains", "Cited domains", ("No evaluated answer cites a source.",))
    text = f"Where the answers say they have it from, all models together: {together(report.models)}."
    return Section("domains", "Cited domains", (text,), (Panel(tables.domains(report), drawings.domains(report)),))


def _costs(report: Report) -> Section:
    text = "What was paid for the window's batches; readings that newer ones have replaced are included."
    return Section("costs", "Costs", (text,), (Panel(tables.costs(report)),))
