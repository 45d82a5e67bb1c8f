"""What a visibility report says, before it is a page or a table: figures with their breakdowns, lists, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from visibility.changes import Change
from visibility.metrics import OrgMetrics
from visibility.store.report_lists import BrandCount, DomainCount, Passage, Spent
from visibility.store.report_sums import AskedQuestion, ReportWindow

EVERYTHING = "all"


@dataclass(frozen=True, slots=True)
class Slice:
    """The figures of one value of a breakdown, over the answers of `models` together.

    `breakdown` is `all`, `date`, `model`, `location`, `question`, `tag`, or two of them joined by ` and `; what it
    does not name is None.
    """

    breakdown: str
    models: tuple[str, ...]
    metrics: OrgMetrics
    run_date: date | None = None
    location: str | None = None
    question: AskedQuestion | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One org of a network's report: all its figures, then per model; `left`: it is no member any more."""

    org_id: UUID
    name: str
    left: bool
    overall: OrgMetrics
    by_model: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class ModelsChange:
    """A figure's change between two dates, over the answers of `models` together."""

    models: tuple[str, ...]
    change: Change


@dataclass(frozen=True, slots=True)
class Named:
    """What the answers name and cite beside the orgs; `read` counts evaluated answers per model.

    `citations` are those of all domains, a URL once per answer.
    """

    read: Mapping[str, int]
    brands: tuple[BrandCount, ...]
    domains: tuple[DomainCount, ...]
    citations: int
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about the answers of a window; `overall` of a network is over (answer, member) pairs.

    `dates` are those with a batch, `versions` the extractor versions of the evaluations that are shown, `other_origin`
    counts the simulated runs of the window that a report on real ones leaves out (or the other way round).
    """

    window: ReportWindow
    owner_name: str
    made_at: datetime
    versions: tuple[str, ...]
    other_origin: int
    dates: tuple[date, ...]
    models: tuple[str, ...]
    questions: tuple[AskedQuestion, ...]
    overall: OrgMetrics
    slices: tuple[Slice, ...]
    changes: tuple[ModelsChange, ...]
    failures: Mapping[str, int]
    spent: Spent
    named: Named
    members: tuple[Member, ...]

    @property
    def empty(self) -> bool:
        """True when nothing was asked in the window."""
        return self.overall.expected == 0

    @property
    def is_network(self) -> bool:
        """True for a report on a network's questions, as they were answered for all of its members."""
        return self.window.scope == "network"

    def by(self, breakdown: str) -> list[Slice]:
        """Return the slices of one breakdown, in the order in which they are shown."""
        return [one for one in self.slices if one.breakdown == breakdown]
