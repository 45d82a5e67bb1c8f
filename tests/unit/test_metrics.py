"""Every figure of an org's visibility."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from visibility.metrics import Cells, metrics_by, org_metrics

ABSENT: dict[str, Any] = {
    "question_id": "q1", "model": "chatgpt", "location": "US", "status": "answered", "evaluated": True,
    "mentioned": False, "rank": None, "sov": 0.0, "sentiment": None, "grounded": True, "cited": False,
    "competitors": 0, "citations": 0, "own_citations": 0,
    "answer_cost_usd": Decimal("0.0015"), "evaluation_cost_usd": Decimal("0.0005"),
}  # fmt: skip
NAMED = ABSENT | {"mentioned": True, "rank": 1, "sov": 0.5, "sentiment": "positive"}
FAILED = ABSENT | {
    "status": "failed", "evaluated": False, "mentioned": None, "sov": None, "grounded": None, "cited": None,
    "competitors": None, "citations": None, "own_citations": None,
    "answer_cost_usd": Decimal(0), "evaluation_cost_usd": Decimal(0),
}  # fmt: skip
UNREAD = FAILED | {"status": "answered", "answer_cost_usd": Decimal("0.0015")}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """A frame with the columns and types of load_frame."""
    types = {
        "evaluated": "bool", "mentioned": "boolean", "grounded": "boolean", "cited": "boolean", "rank": "Int64",
        "sov": "Float64", "competitors": "Int64", "citations": "Int64", "own_citations": "Int64",
    }  # fmt: skip
    return pd.DataFrame(rows, columns=list(ABSENT), dtype="object").astype(types)


def test_failed_runs_are_in_coverage_and_in_no_denominator():
    metrics = org_metrics(frame(NAMED, ABSENT, FAILED, FAILED))
    assert (metrics.expected, metrics.answered, metrics.evaluated) == (4, 2, 2)
    assert metrics.coverage.value == 0.5
    assert (metrics.mention_rate.value, metrics.mention_rate.n) == (0.5, 2)
    assert metrics.mention_rate.coverage == 0.5


def test_an_answer_that_was_not_evaluated_counts_as_covered_and_as_nothing_else():
    metrics = org_metrics(frame(NAMED, UNREAD))
    assert metrics.coverage.value == 1
    assert (metrics.mention_rate.value, metrics.mention_rate.n) == (1, 1)


def test_the_mention_rate_has_its_wilson_interval():
    rate = org_metrics(frame(NAMED, *[ABSENT] * 9)).mention_rate
    assert (rate.low, rate.high) == (pytest.approx(0.017876, abs=1e-6), pytest.approx(0.40415, abs=1e-6))


def test_unknown_grounding_is_left_out_and_counted():
    cited = NAMED | {"cited": True}
    rate = org_metrics(
        frame(cited, ABSENT, cited | {"grounded": None}, cited | {"grounded": False})
    ).owned_citation_rate
    assert (rate.value, rate.n, rate.left_out) == (0.5, 2, 1)


def test_share_of_voice_by_text_counts_absence_as_zero():
    figure = org_metrics(frame(NAMED, ABSENT, ABSENT, ABSENT)).share_of_voice_by_text
    assert (figure.value, figure.n) == (0.125, 4)


def test_share_of_voice_by_mentions_is_the_orgs_part_of_all_namings():
    figure = org_metrics(
        frame(NAMED | {"competitors": 3}, NAMED, ABSENT | {"competitors": 5})
    ).share_of_voice_by_mentions
    assert (figure.value, figure.n) == (0.2, 10)


def test_absence_is_never_a_rank():
    figure = org_metrics(frame(NAMED, NAMED | {"rank": 4}, ABSENT, NAMED | {"rank": None})).average_rank
    assert (figure.value, figure.n, figure.left_out) == (2.5, 2, 1)


def test_rank_weighted_visibility_discounts_by_rank_and_counts_absence_as_zero():
    figure = org_metrics(frame(NAMED, NAMED | {"rank": 3}, ABSENT, ABSENT)).rank_weighted_visibility
    assert figure.value == pytest.approx((1 + 0.81) / 4)


def test_the_sentiment_index_is_over_judged_mentions():
    tones = [NAMED | {"sentiment": tone} for tone in ("positive", "positive", "neutral", "negative", None)]
    figure = org_metrics(frame(*tones, ABSENT)).sentiment_index
    assert (figure.value, figure.n, figure.left_out) == (0.25, 4, 1)


def test_the_citation_share_is_over_all_citations():
    figure = org_metrics(frame(NAMED | {"citations": 6, "own_citations": 1}, ABSENT | {"citations": 4})).citation_share
    assert (figure.value, figure.n) == (0.1, 10)


def test_every_evaluated_answer_is_in_one_cell():
    rows = [NAMED | {"cited": True}, NAMED, NAMED, ABSENT | {"cited": True}, ABSENT]
    cells = org_metrics(frame(*rows, FAILED, UNREAD)).cells
    assert cells == Cells(1, 2, 1, 1, coverage=6 / 7)
    assert cells.n == 5


def test_costs_are_decimal_and_count_what_came_to_nothing():
    metrics = org_metrics(frame(NAMED, ABSENT, UNREAD, FAILED))
    assert metrics.cost_per_usable_answer.value == Decimal("0.001833")
    assert metrics.cost_per_mention.value == Decimal("0.005500")


@pytest.mark.parametrize("rows", [(), (FAILED,), (UNREAD,)])
def test_without_a_denominator_every_figure_is_null_with_a_reason(rows):
    metrics = org_metrics(frame(*rows))
    for figure in metrics.figures():
        assert (figure.value, figure.low, figure.high, figure.n) == (None, None, None, 0)
        assert figure.reason
    assert metrics.cost_per_mention.value is None
    assert metrics.cost_per_mention.reason == "there are no answers naming the org"


def test_without_expected_runs_coverage_is_null_with_a_reason():
    coverage = org_metrics(frame()).coverage
    assert (coverage.value, coverage.reason) == (None, "no run was expected")


def test_without_a_mention_rank_and_sentiment_are_null_and_the_rate_is_zero():
    metrics = org_metrics(frame(ABSENT, ABSENT | {"question_id": "q2"}))
    assert metrics.average_rank.reason == "no answer ranks the org"
    assert metrics.sentiment_index.reason == "no mention was judged"
    assert metrics.citation_share.reason == "no answer cites a source"
    assert metrics.share_of_voice_by_mentions.reason == "no answer names a brand"
    assert metrics.mention_rate.value == 0
    assert metrics.share_of_voice_by_text.value == 0


def test_one_question_gives_shares_without_an_interval_and_says_why():
    figure = org_metrics(frame(NAMED, ABSENT)).share_of_voice_by_text
    assert (figure.value, figure.low, figure.high) == (0.25, None, None)
    assert "two questions" in figure.reason


def sixty() -> pd.DataFrame:
    return frame(
        *(
            (NAMED if (question + place) % 3 else ABSENT)
            | {"question_id": f"q{question}", "model": model, "location": location, "competitors": question,
               "citations": 4, "own_citations": question % 2, "rank": 1 + question % 4}
            for question in range(10)
            for place, (model, location) in enumerate(
                (model, location) for model in ("chatgpt", "gemini", "perplexity") for location in ("CA", "US")
            )
        )
    )  # fmt: skip


def test_every_figure_of_a_full_batch_has_value_n_unit_coverage_and_interval():
    for figure in org_metrics(sixty()).figures():
        assert figure.low <= figure.value <= figure.high
        assert figure.n > 0
        assert figure.coverage == 1
        assert figure.unit
        assert figure.reason is None


def test_the_same_answers_give_the_same_figures():
    assert org_metrics(sixty()) == org_metrics(sixty())


def test_the_order_of_the_answers_does_not_move_an_interval():
    batch = sixty()
    given, shuffled = org_metrics(batch), org_metrics(batch.sample(frac=1, random_state=3))
    for one, other in zip(given.figures(), shuffled.figures(), strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_a_breakdown_splits_the_runs_by_value():
    by_model = metrics_by(sixty(), "model")
    assert {model: metrics.expected for model, metrics in by_model.items()} == dict.fromkeys(
        ("chatgpt", "gemini", "perplexity"), 20
    )
    both = metrics_by(sixty(), "model", "location")
    assert next(iter(both)) == ("chatgpt", "CA")
    assert sum(metrics.evaluated for metrics in both.values()) == 60


def test_a_breakdown_of_nothing_is_empty():
    assert metrics_by(frame(), "model") == {}


def test_importing_the_figures_does_not_import_pandas():
    code = (
        "import sys, visibility.metrics, visibility.store.results; "
        "sys.exit(len({'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
