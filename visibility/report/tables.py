"""The tables of a report's page: cells of texts, each with its small print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from visibility.metrics import CostFigure, Figure, OrgMetrics
from visibility.report.content import Member, ModelsChange, Report, Slice
from visibility.report.words import (
    NOTHING,
    TITLES,
    counted,
    difference,
    interval,
    interval_of_difference,
    label_of,
    note,
    together,
    usd,
    written,
)

SHOWN = (
    "mention_rate", "share_of_voice_by_mentions", "share_of_voice_by_text", "average_rank",
    "rank_weighted_visibility", "sentiment_index", "owned_citation_rate", "citation_share",
)  # fmt: skip


class Cell(NamedTuple):
    """A text, and what stands below it in small print."""

    text: str
    small: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with one header cell per row, the first."""

    caption: str
    titles: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]


def key_figures(metrics: OrgMetrics) -> Table:
    """Return every figure in a row of its own: value, interval, n with its unit, coverage, why something is missing."""
    figures: tuple[Figure | CostFigure, ...] = (
        metrics.coverage,
        *metrics.figures(),
        metrics.cost_per_usable_answer,
        metrics.cost_per_mention,
    )
    titles = (Cell("figure"), Cell("value", "95 % interval"), Cell("n"), Cell("coverage"), Cell("note"))
    return Table("Every figure over the whole window", titles, tuple(_key_row(figure) for figure in figures))


def _key_row(figure: Figure | CostFigure) -> tuple[Cell, ...]:
    if isinstance(figure, CostFigure):
        value = Cell(usd(figure.value))
    else:
        value = Cell(written(figure.name, figure.value), interval(figure))
    coverage = Cell(written("coverage", figure.coverage))
    return (Cell(TITLES[figure.name]), value, Cell(f"{figure.n:,}", figure.unit), coverage, Cell(note(figure)))


def breakdown(
    caption: str, first: str, slices: Sequence[Slice], label: Callable[[Slice], Cell] = lambda one: Cell(label_of(one))
) -> Table:
    """Return one row per slice: coverage, then every figure with its interval and n."""
    return _of_metrics(caption, first, [(label(one), one.metrics) for one in slices])


def leaderboard(members: Sequence[Member]) -> Table:
    """Return one row per member, in the order of the leaderboard."""
    rows = [
        (Cell(f"{place}. {member.name}", "no member any more" if member.left else ""), member.overall)
        for place, member in enumerate(members, 1)
    ]
    return _of_metrics("Members by mention rate", "member", rows)


def member_figures(member: Member, models: Sequence[str]) -> Table:
    """Return a member's figures over all models together, then of each model."""
    rows = [(Cell("all models", together(models)), member.overall)] if len(models) > 1 else []
    rows += [(Cell(one.models[0]), one.metrics) for one in member.by_model]
    return _of_metrics(f"Figures of {member.name}", "models", rows)


def _of_metrics(caption: str, first: str, rows: Sequence[tuple[Cell, OrgMetrics]]) -> Table:
    units = {name: getattr(rows[0][1], name).unit if rows else "" for name in SHOWN}
    titles = (
        Cell(first),
        Cell("Coverage", "of expected runs"),
        *(Cell(TITLES[name], f"n: {units[name]}") for name in SHOWN),
    )
    return Table(caption, titles, tuple((label, *_figures(metrics)) for label, metrics in rows))


def _figures(metrics: OrgMetrics) -> Iterable[Cell]:
    coverage = metrics.coverage
    yield Cell(written("coverage", coverage.value), f"{metrics.answered:,} of {metrics.expected:,}")
    for name in SHOWN:
        yield _figure_cell(getattr(metrics, name))


def _figure_cell(figure: Figure) -> Cell:
    if figure.value is None:
        return Cell(NOTHING, figure.reason or "")
    return Cell(written(figure.name, figure.value), f"{interval(figure) or 'no interval'}\nn {figure.n:,}")


def changes(caption: str, compared: Sequence[ModelsChange]) -> Table:
    """Return one row per compared figure: both dates, the difference with its interval, and the verdict."""
    dates = (str(compared[0].change.before_date), str(compared[0].change.after_date))
    titles = (Cell("figure", "n counts"), *map(Cell, dates), Cell("difference", "95 % interval"), Cell("verdict"))
    return Table(caption, titles, tuple(_change_row(one) for one in compared))


def _change_row(compared: ModelsChange) -> tuple[Cell, ...]:
    change, name = compared.change, compared.change.after.name
    title = TITLES[name] if len(compared.models) > 1 else f"{TITLES[name]}, {compared.models[0]}"
    return (
        Cell(title, change.after.unit),
        _dated(change.before),
        _dated(change.after),
        Cell(difference(name, change.difference), interval_of_difference(name, change.low, change.high)),
        Cell("CHANGE" if change.reason is None else change.verdict, change.reason or "the interval leaves out 0"),
    )


def _dated(figure: Figure) -> Cell:
    coverage = written("coverage", figure.coverage)
    return Cell(
        written(figure.name, figure.value),
        f"n {figure.n:,}\ncoverage {coverage}".replace("coverage ", "coverage\u00a0"),
    )


def cells(metrics: OrgMetrics) -> Table:
    """Return the answers by: is the organisation named, is its own site cited."""
    found, unit = metrics.cells, metrics.mention_rate.unit
    rows = (
        (Cell("named"), _part(found.both, found.n), _part(found.named_only, found.n)),
        (Cell("not named"), _part(found.cited_only, found.n), _part(found.neither, found.n)),
    )
    caption = f"n: {counted(found.n, unit)}, coverage {written('coverage', found.coverage)}"
    return Table(caption, _titles(("", "own site cited", "own site not cited")), rows)


def _part(number: int, n: int) -> Cell:
    return Cell(f"{number:,}", written("coverage", number / n) if n else "")


def failures(report: Report) -> Table:
    """Return how many runs came to nothing, by error code."""
    expected = report.overall.expected
    rows = tuple(
        (Cell(code), Cell(f"{number:,}"), _share(number, expected)) for code, number in report.failures.items()
    )
    return Table("Runs without an answer", _titles(("error code or state", "runs", "of expected runs")), rows)


def _share(part: int, whole: int) -> Cell:
    return Cell(written("coverage", part / whole if whole else None), f"n {whole:,}")


def brands(report: Report) -> Table:
    """Return the brands named in most answers: in how many of all, and of each model."""
    read, total = report.named.read, sum(report.named.read.values())
    titles = (Cell("brand"), Cell("all models", f"n {total:,}"), *(Cell(name, f"n {n:,}") for name, n in read.items()))
    rows = tuple(
        (
            Cell(brand.name),
            _part(brand.answers, total),
            *(_part(brand.by_model.get(name, 0), n) for name, n in read.items()),
        )
        for brand in report.named.brands
    )
    return Table("Evaluated answers that name the brand", titles, rows)


def domains(report: Report) -> Table:
    """Return the domains with most citations, own or not."""
    named = report.named
    read = sum(named.read.values())
    rows = tuple(
        (
            Cell(one.domain),
            Cell("own site" if one.own else "other"),
            _part(one.citations, named.citations),
            _part(one.answers, read),
        )
        for one in named.domains
    )
    titles = (
        Cell("domain"),
        Cell("whose"),
        Cell("citations", f"n {named.citations:,}"),
        Cell("answers", f"n {read:,}"),
    )
    return Table("Cited domains", titles, rows)


def costs(report: Report) -> Table:
    """Return what was paid, in all and per usable answer and mention."""
    spent, metrics = report.spent, report.overall
    rows = [
        (
            Cell("answers", "paid to the vendors"),
            Cell(usd(spent.answers_usd)),
            Cell(counted(metrics.expected, "expected runs")),
        ),
        (
            Cell("reading", "every call to the LLM"),
            Cell(usd(spent.reading_usd)),
            Cell(counted(metrics.evaluated, "evaluations")),
        ),
    ]
    for cost in (metrics.cost_per_usable_answer, metrics.cost_per_mention):
        rows.append(
            (Cell(TITLES[cost.name]), Cell(usd(cost.value), cost.reason or ""), Cell(counted(cost.n, cost.unit)))
        )
    return Table("Costs of the window's batches", _titles(("what", "USD", "n")), tuple(rows))


def _titles(titles: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(map(Cell, titles))
