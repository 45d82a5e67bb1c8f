"""How long a night should take: which bound decides, and what it is computed from."""

from __future__ import annotations

from typing import Any

import pytest

from visibility.night_duration import Extent, Pace, bounds_of, pace_of
from visibility.night_plan_display import duration
from visibility.settings import BrightDataSettings, LlmSettings, Settings
from visibility.store.nights import Measured

PACE = Pace(job_seconds=120, slow_job_seconds=300, call_seconds=2)
NIGHT = Extent(scope="org", owners=1500, flows=1500, starts=0, jobs=180, calls=90_000, cores=2)


def bounds(settings: Settings | None = None, **changes: Any) -> dict[str, float]:
    extent = Extent(**{**{name: getattr(NIGHT, name) for name in Extent.__slots__}, **changes})
    return {bound.name: bound.seconds for bound in bounds_of(extent, PACE, settings or Settings())}


def test_each_bound_is_what_the_night_must_wait_for_and_the_longest_is_the_first():
    found = bounds()
    assert found == {
        "orgs in flight": 30 * 122,  # 1,500 in rounds of 50
        "submissions per minute": pytest.approx(179 * 6 + 300),
        "CPU": pytest.approx((1500 * 0.35 + 90_000 * 0.012) / 2),
        "LLM calls at a time": 352 * 2,  # 90,000 in rounds of 256
        "running vendor jobs": 300,  # 216 s for all of them, but the slowest takes longer
    }
    assert list(found) == sorted(found, key=lambda name: -found[name])


def test_shards_at_the_same_time_share_limits_and_bring_their_own_places():
    limits = LlmSettings(llm_requests_per_minute=1000, llm_tokens_per_minute=1_300_000)
    found = bounds(Settings(shards=4, llm=limits, brightdata=BrightDataSettings(submissions_per_minute=20)))
    assert found["orgs in flight"] == 8 * 122
    assert found["submissions per minute"] == pytest.approx(179 * 3 + 300)
    assert (found["LLM requests per minute"], found["LLM tokens per minute"]) == (5400, 5400)


def test_nothing_to_do_takes_no_time_and_reading_alone_waits_for_no_vendor():
    assert bounds(jobs=0, calls=0) == {} and bounds(owners=0) == {}
    assert "submissions per minute" not in bounds(jobs=0) and bounds(jobs=0)["orgs in flight"] == 60


def test_networks_wait_for_each_other_a_few_at_a_time():
    assert bounds(scope="network", owners=9)["networks at a time"] == 3 * 122


def test_what_was_not_measured_is_assumed_and_a_simulation_is_faster():
    assert pace_of(Measured(0, None, None, 0, None)) == PACE
    assert pace_of(Measured(0, None, None, 3, 0.5), time_scale=60) == Pace(2, 5, 0.5, calls=3)


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (125, "2 min"), (11_100, "3 h 05 min")])
def test_a_duration_is_said_as_people_do(seconds: float, said: str):
    assert duration(seconds) == said
