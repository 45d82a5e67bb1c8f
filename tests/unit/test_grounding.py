from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.domain import OrgProfile, StoredAnswer
from visibility.grounding import Share, Verdict, evaluate, verdict_of
from visibility.mentions import find_names
from visibility.reading import AnswerReading, EvaluationReading, OpenAnswer, open_answer

ORG = OrgProfile(UUID(int=1), "Acme Roofing", ("Acme Roofing", "Acme"), ("https://acme.example",))
TEXT = "Peak leads. Acme is solid. They answer fast. Summit is slow. Nothing else. Acme again. Bye."


def opened(text: str = TEXT) -> OpenAnswer:
    return open_answer(StoredAnswer(uuid4(), "Who roofs?", text, None, "chatgpt"), ORG)


def said(blocks: list[int], *, verified: bool = True, absent: bool = False) -> EvaluationReading:
    return EvaluationReading(
        is_mention_verified=verified, mention_blocks=blocks, sentiment="positive", absence_statement=absent
    )


def texts(verdict: Verdict, text: str = TEXT) -> list[str]:
    return [text[span.start : span.end] for span in verdict.spans]


def test_chosen_neighbours_become_one_verbatim_span() -> None:
    verdict = verdict_of(opened(), said([2, 3, 6]))
    assert texts(verdict) == ["Acme is solid. They answer fast.", "Acme again."]
    assert (verdict.mentioned, verdict.reason, verdict.sentiment) == (True, "verified", "positive")


def test_numbers_that_were_not_shown_are_dropped_and_counted() -> None:
    verdict = verdict_of(opened(), said([2, 0, -1, 99, 99]))
    assert texts(verdict) == ["Acme is solid."]
    assert verdict.ungrounded == 3


def test_a_run_without_a_name_is_dropped() -> None:
    assert texts(verdict_of(opened(), said([2, 4, 5]))) == ["Acme is solid."]


def test_with_nothing_left_the_org_is_not_mentioned() -> None:
    verdict = verdict_of(opened(), said([4, 5, 50]))
    assert verdict == Verdict(False, "not_verified", ungrounded=1)


def test_an_unverified_mention_has_no_sentiment_and_no_spans() -> None:
    assert verdict_of(opened(), said([2], verified=False)) == Verdict(False, "not_verified")


def test_a_statement_that_nothing_is_known_is_not_a_mention() -> None:
    assert verdict_of(opened(), said([2], absent=True)) == Verdict(False, "absence_statement")


def test_an_answer_without_the_name_is_absent_whatever_the_llm_says() -> None:
    assert verdict_of(opened("Peak leads."), said([1])) == Verdict(False, "name_absent")


def test_rank_competitors_and_share_come_from_the_text() -> None:
    reading = AnswerReading(answer=1, brands=["Summit", "Peak", "Acme", "Phantom"], evaluation=said([2, 3]))
    found = evaluate(opened(), reading, ORG, "v", Share())
    assert found.competitors == ("Peak", "Summit")
    assert found.mention_rank == 2
    assert found.share_of_voice == pytest.approx(32 / len(TEXT))
    assert found.mention_text == "Acme is solid. They answer fast."
    assert [brand.name for brand in found.brands] == ["Peak", "Acme", "Summit"]


def test_an_absent_org_has_competitors_but_no_rank() -> None:
    reading = AnswerReading(answer=1, brands=["Peak"], evaluation=None)
    found = evaluate(opened("Peak leads."), reading, ORG, "v", Share())
    assert (found.competitors, found.mention_rank, found.share_of_voice) == (("Peak",), None, 0.0)
    assert found.mention_text is None


def test_by_rule_alone_there_is_a_mention_without_sentiment_or_rank() -> None:
    found = evaluate(opened(), None, ORG, "v", Share())
    assert (found.mentioned, found.reason, found.sentiment, found.mention_rank) == (True, "rule_only", None, None)
    assert find_names(found.mention_text or "", ["Acme"])


def test_an_own_site_among_the_sources_is_a_citation() -> None:
    assert evaluate(opened("See https://www.acme.example/x now."), None, ORG, "v", Share()).citation
    assert not evaluate(opened("See https://other.example/acme now."), None, ORG, "v", Share()).citation


PARTS = [
    "Acme", "Acme Roofing", "Peak", "- ", "* ", "\n", "\n\n", "| a | Acme |", "**Acme**", "## ", ". ", "🙂", " они ",
    "[x](https://acme.example)",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join), st.lists(st.integers(-3, 60)), st.booleans())
def test_whatever_the_llm_says_spans_are_ordered_inside_the_text_and_hold_a_name(
    text: str, blocks: list[int], verified: bool
) -> None:
    answer = opened(text)
    verdict = verdict_of(answer, said(blocks, verified=verified))
    assert verdict.mentioned == bool(verdict.spans)
    assert all(0 <= span.start < span.end <= len(text) for span in verdict.spans)
    assert all(one.end <= two.start for one, two in zip(verdict.spans, verdict.spans[1:], strict=False))
    if verdict.mentioned:
        assert any(span.start < name.end and name.start < span.end for span in verdict.spans for name in answer.names)
