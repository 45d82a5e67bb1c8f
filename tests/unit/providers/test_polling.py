"""How often a running vendor job is looked at."""

from __future__ import annotations

import pytest

from visibility.providers.brightdata.jobs import pause_seconds


@pytest.mark.parametrize(("elapsed", "pause"), [(0, 2.5), (30, 2.5), (60, 4), (150, 10), (600, 10), (-1, 2.5)])
def test_a_young_job_is_looked_at_more_often_and_none_less_than_configured(elapsed: float, pause: float) -> None:
    assert pause_seconds(elapsed, 10) == pytest.approx(pause)
