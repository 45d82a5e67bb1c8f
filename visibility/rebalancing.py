"""Which schedules to move to another weekday, so that no day asks far more or far less than the others.

A day is off when its answers differ from the mean of the seven days by more than a fifth of it. All arithmetic is in
whole 35ths of an answer: exact, so that a day on the bound is not moved by rounding.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from operator import itemgetter
from uuid import UUID

from visibility.domain import Scope
from visibility.store.schedules import WeeklyPlan

TOLERANCE = Fraction(1, 5)
DAYS = 7
_PARTS = DAYS * TOLERANCE.denominator  # of one answer

Days = frozenset[int]
Entry = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Move:
    """One schedule that goes to another weekday (0 is Monday) with its answers of a day."""

    owner_id: UUID
    scope: Scope
    name: str
    from_dow: int
    to_dow: int
    answers: int


def answers_per_day(plans: Sequence[WeeklyPlan]) -> list[int]:
    """Return the expected answers of each weekday, Monday first."""
    return [sum(plan.expected for plan in plans if dow in plan.days) for dow in range(DAYS)]


def is_balanced(loads: Sequence[int]) -> bool:
    """Return whether every day is within a fifth of the mean; nothing at all is balanced."""
    return not any(_excess(load, sum(loads)) for load in loads)


def recommend_moves(plans: Sequence[WeeklyPlan]) -> list[Move]:
    """Return the moves after which every day is within the bound, or no single further move helps; largest first.

    Greedy: again and again, from the fullest day to the emptiest, the schedule that takes most off what both are
    beyond the bound, no more than is needed. Nobody is put on a day that it has already. A balanced week recommends
    nothing.
    """
    week = _Week(plans)
    while week.improve():
        pass
    return sorted(week.moves(), key=lambda move: (-move.answers, move.name, str(move.owner_id), move.from_dow))


def _excess(load: int, total: int) -> int:
    """Return by how much a day is beyond the bound, in parts of an answer."""
    return max(0, abs(_PARTS * load - TOLERANCE.denominator * total) - TOLERANCE.numerator * total)


class _Week:
    """The seven loads, and the plans by the days they have: each group sorted by answers, then by name backwards."""

    def __init__(self, plans: Sequence[WeeklyPlan]) -> None:
        self._plans = sorted(plans, key=lambda plan: (plan.name, str(plan.owner_id)))
        self._loads = answers_per_day(plans)
        self._total = sum(self._loads)
        mean, slack = TOLERANCE.denominator * self._total, TOLERANCE.numerator * self._total
        self._bounds = mean - slack, mean + slack  # in parts
        self._days: list[Days] = [frozenset(plan.days) for plan in self._plans]
        self._groups: dict[Days, list[Entry]] = {}
        for number, plan in enumerate(self._plans):
            if plan.expected:
                self._groups.setdefault(self._days[number], []).append((plan.expected, -number))
        for group in self._groups.values():
            group.sort()

    def improve(self) -> bool:
        """Make a move that helps, if there is one: between the first two days, fullest to emptiest, that have one.

        One that puts neither day beyond the bound on its other side goes before one that does and still helps.
        """
        for gentle, (giver, taker) in product((True, False), self._pairs()):
            if entry := self._best(giver, taker, gentle):
                self._move(entry, giver, taker)
                return True
        return False

    def moves(self) -> Iterator[Move]:
        """Yield what has changed; a schedule that was moved twice is one move."""
        for plan, days in zip(self._plans, self._days, strict=True):
            before = frozenset(plan.days)
            for giver, taker in zip(sorted(before - days), sorted(days - before), strict=True):
                yield Move(plan.owner_id, plan.scope, plan.name, giver, taker, plan.expected)

    def _pairs(self) -> list[tuple[int, int]]:
        """Return the days between which a move can help: from the fuller to the emptier, one of them off."""
        off = {day for day, load in enumerate(self._loads) if _excess(load, self._total)}
        order = sorted(range(DAYS), key=self._loads.__getitem__)
        return [
            (giver, taker)
            for giver in reversed(order)
            for taker in order
            if self._loads[giver] > self._loads[taker] and off & {giver, taker}
        ]

    def _best(self, giver: int, taker: int, gentle: bool) -> Entry | None:
        """Return the schedule whose move helps most, None when none helps.

        What two days are beyond the bound is convex in what is moved: of all sizes one next to the ideal is best.
        """
        most = self._most(giver, taker) if gentle else self._total
        ideal = min(self._ideal(giver, taker), most + 1)
        candidates = [
            group[place]
            for days, group in self._groups.items()
            if giver in days and taker not in days
            for place in _around(group, ideal)
            if group[place][0] <= most
        ]
        best = min(candidates, key=lambda one: (self._beyond(giver, taker, one[0]), one[0], -one[1]), default=None)
        if best is None or self._beyond(giver, taker, best[0]) >= self._beyond(giver, taker, 0):
            return None
        return best

    def _most(self, giver: int, taker: int) -> int:
        """Return the most answers that can move without the giver falling too low or the taker rising too high."""
        low, high = self._bounds
        return min(high - _PARTS * self._loads[taker], _PARTS * self._loads[giver] - low) // _PARTS

    def _ideal(self, giver: int, taker: int) -> int:
        """Return the fewest answers whose move helps as much as any could."""
        low, high = self._bounds
        given, taken = _PARTS * self._loads[giver], _PARTS * self._loads[taker]
        turns = (low - taken, high - taken, given - high, given - low)
        sizes = {max(0, size) for turn in turns for size in (turn // _PARTS, -(-turn // _PARTS))}
        return min(sizes, key=lambda size: (self._beyond(giver, taker, size), size))

    def _beyond(self, giver: int, taker: int, size: int) -> int:
        """Return what both days are beyond the bound once `size` answers have moved."""
        return _excess(self._loads[giver] - size, self._total) + _excess(self._loads[taker] + size, self._total)

    def _move(self, entry: Entry, giver: int, taker: int) -> None:
        size, number = entry[0], -entry[1]
        group = self._groups[self._days[number]]
        del group[bisect_left(group, entry)]
        self._days[number] = self._days[number] - {giver} | {taker}
        insort(self._groups.setdefault(self._days[number], []), entry)
        self._loads[giver] -= size
        self._loads[taker] += size


def _around(group: Sequence[Entry], size: int) -> list[int]:
    """Return the places of the largest entry below `size` and of the smallest that is not; of equals the first name."""
    by_size = itemgetter(0)
    place = bisect_left(group, size, key=by_size)
    above = [bisect_right(group, group[place][0], key=by_size) - 1] if place < len(group) else []
    return above if place == 0 else [place - 1, *above]
