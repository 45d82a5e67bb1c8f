"""95 % intervals: Wilson for rates over runs, a seeded bootstrap over questions for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z_95 = 1.959963984540054
RESAMPLES = 1000
SEED = 20_250_701


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it; the unit is that of the figure."""

    low: float
    high: float


def wilson(successes: int, n: int) -> Interval:
    """Return the Wilson score interval of the rate successes ÷ n, within 0–1.

    Raises ValueError unless 0 ≤ successes ≤ n and n ≥ 1. Wilson (1927), JASA 22, 209–212.
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"{successes} of {n} is not a rate")
    rate, weight = successes / n, Z_95 * Z_95 / n
    middle = (rate + weight / 2) / (1 + weight)
    half = Z_95 * sqrt(rate * (1 - rate) / n + weight / (4 * n)) / (1 + weight)
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Interval(low, high)


def wilson_difference(before: tuple[int, int], after: tuple[int, int]) -> Interval:
    """Return the interval of the rate `after` minus the rate `before`, each as (successes, n); within −1–1.

    Made of the two Wilson intervals. Newcombe (1998), Statistics in Medicine 17, 873–890, method 10.
    """
    first, last = wilson(*before), wilson(*after)
    old, new = before[0] / before[1], after[0] / after[1]
    below = sqrt((new - last.low) ** 2 + (first.high - old) ** 2)
    above = sqrt((last.high - new) ** 2 + (old - first.low) ** 2)
    return Interval(new - old - below, new - old + above)


def bootstrap_ratios(
    numerators: NDArray[np.float64],
    denominators: NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Interval | None]:
    """Return the percentile interval of Σ numerator ÷ Σ denominator for every column.

    Both arrays are (questions × figures): the sums of one question. Whole questions are drawn with
    replacement, because models, locations and replicates of one question are correlated. None where
    fewer than two questions have a denominator; draws without a denominator are left out.
    """
    import numpy as np

    questions, figures = numerators.shape
    if questions < 2:
        return [None] * figures
    drawn = _draws(questions, resamples, seed)
    tops, bottoms = drawn @ numerators, drawn @ denominators
    return [
        _percentiles(tops[:, figure], bottoms[:, figure]) if np.count_nonzero(denominators[:, figure]) >= 2 else None
        for figure in range(figures)
    ]


def bootstrap_differences(
    before: tuple[NDArray[np.float64], NDArray[np.float64]],
    after: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Interval | None]:
    """Return the percentile interval of the ratio `after` minus the ratio `before` for every column.

    Both are (numerators, denominators) of the same questions in the same order, as in `bootstrap_ratios`; a question
    is drawn for both, because what is special about it is so on both dates. None where either ratio would have none.
    """
    import numpy as np

    questions, figures = before[0].shape
    if questions < 2:
        return [None] * figures
    drawn = _draws(questions, resamples, seed)
    enough = (np.count_nonzero(before[1], axis=0) >= 2) & (np.count_nonzero(after[1], axis=0) >= 2)
    sums = [drawn @ array for array in (*before, *after)]
    return [
        _percentiles_of_differences(*(array[:, figure] for array in sums)) if enough[figure] else None
        for figure in range(figures)
    ]


@lru_cache(maxsize=4)  # every org of a network has the same questions, and drawing takes most of the time
def _draws(questions: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each question is drawn: (resamples × questions)."""
    import numpy as np

    return np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), size=resamples)


def _percentiles(tops: NDArray[np.float64], bottoms: NDArray[np.float64]) -> Interval:
    import numpy as np

    valid = bottoms > 0
    low, high = np.quantile(tops[valid] / bottoms[valid], (0.025, 0.975))
    return Interval(float(low), float(high))


def _percentiles_of_differences(
    old_tops: NDArray[np.float64],
    old_bottoms: NDArray[np.float64],
    new_tops: NDArray[np.float64],
    new_bottoms: NDArray[np.float64],
) -> Interval:
    import numpy as np

    valid = (old_bottoms > 0) & (new_bottoms > 0)
    differences = new_tops[valid] / new_bottoms[valid] - old_tops[valid] / old_bottoms[valid]
    low, high = np.quantile(differences, (0.025, 0.975))
    return Interval(float(low), float(high))
