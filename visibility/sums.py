"""What every figure is made of: sums per question, taken here over the runs of a frame.

Over many runs the database takes them (`store.report_sums`). numpy is imported on first use, so that commands start
fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Column: TypeAlias = NDArray[np.float64]

RANK_DISCOUNT = 0.9  # rank-weighted visibility: 0.9^(rank − 1)
SENTIMENT_SIGNS = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}
NUMBERS = ("mentioned", "cited", "grounded", "rank", "sov", "competitors", "citations", "own_citations")
SUMS = (
    "expected", "answered", "evaluated",
    "mentioned", "cited", "mentioned_and_cited",
    "grounding_known", "grounded", "grounded_and_cited",
    "text_voice", "text_voice_known", "competitors",
    "ranks", "ranked", "rank_visibility",
    "sentiment", "judged", "citations", "own_citations",
)  # fmt: skip
"""What figures are made of: counts but for `text_voice`, `rank_visibility` and `sentiment`; see `rows_of_runs`."""
EVALUATED = SUMS.index("evaluated")
COSTS = ("answer_cost_usd", "evaluation_cost_usd")


@dataclass(frozen=True, slots=True)
class SumRows:
    """Rows of sums: `sums` is (rows × `SUMS`), `questions` numbers the question of a row, `costs` are Decimal, USD.

    As arrays: an org has a dozen groups, and a frame of a group takes longer to make than its figures.
    """

    sums: Column
    questions: NDArray[Any]
    costs: tuple[NDArray[Any], ...]

    def at(self, places: NDArray[Any]) -> SumRows:
        """Return some of the rows, by place or by mask."""
        return SumRows(self.sums[places], self.questions[places], tuple(cost[places] for cost in self.costs))

    def read_questions(self) -> NDArray[Any]:
        """Return the numbers of the questions with an evaluated answer, ascending."""
        import numpy as np

        return np.unique(self.questions[self.sums[:, EVALUATED] > 0])

    def by_question(self, questions: NDArray[Any]) -> Column:
        """Return the sums of the given questions, (questions × `SUMS`); 0 for one without a row."""
        import numpy as np

        belongs = np.equal.outer(questions, self.questions)
        if len(belongs) * len(self.questions) < SMALL:
            product: Column = belongs.astype(float) @ self.sums
            return product
        sums: Column = np.stack([self.sums[rows].sum(axis=0) for rows in belongs])
        return sums


SMALL = 1_000_000  # entries of a matrix that is faster than a loop over questions


def rows_of_runs(frame: pd.DataFrame) -> SumRows:
    """Return what each run adds to the sums; findings of a run without evaluation count nothing."""
    import numpy as np

    found = {name: frame[name].to_numpy(dtype=float, na_value=np.nan) for name in NUMBERS}
    sign = frame["sentiment"].map(SENTIMENT_SIGNS).to_numpy(dtype=float, na_value=np.nan)
    read = frame["evaluated"].to_numpy(dtype=bool)
    named, cited, grounded = (read & (found[name] > 0) for name in ("mentioned", "cited", "grounded"))
    voiced = read & ~np.isnan(found["sov"])
    ranked, judged = named & ~np.isnan(found["rank"]), named & ~np.isnan(sign)
    place = np.where(ranked, found["rank"], 1)
    sums = {
        "expected": np.ones(len(frame)),
        "answered": (frame["status"] == "answered").to_numpy(),
        "evaluated": read,
        "mentioned": named,
        "cited": cited,
        "mentioned_and_cited": named & cited,
        "grounding_known": read & ~np.isnan(found["grounded"]),
        "grounded": grounded,
        "grounded_and_cited": grounded & cited,
        "text_voice": np.where(voiced, found["sov"], 0),
        "text_voice_known": voiced,
        "ranks": np.where(ranked, place, 0),
        "ranked": ranked,
        "rank_visibility": np.where(ranked, RANK_DISCOUNT ** (place - 1), 0),
        "sentiment": np.where(judged, sign, 0),
        "judged": judged,
        **{name: np.where(read, found[name], 0) for name in ("competitors", "citations", "own_citations")},
    }
    return _rows(frame, np.column_stack([sums[name] for name in SUMS]).astype(float))


def rows_of_sums(frame: pd.DataFrame) -> SumRows:
    """Return the rows of a frame of sums, which has `question_id`, `SUMS` and `COSTS`."""
    return _rows(frame, frame[list(SUMS)].to_numpy(dtype=float))


def _rows(frame: pd.DataFrame, sums: Column) -> SumRows:
    import numpy as np

    _, questions = np.unique(frame["question_id"].astype(str).to_numpy(dtype=object), return_inverse=True)
    return SumRows(sums, questions, tuple(frame[name].to_numpy(dtype=object) for name in COSTS))
