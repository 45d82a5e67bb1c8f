"""Who pays."""

from __future__ import annotations

from uuid import UUID

import pytest

from visibility.billing.payers import Payer, who_pays

ORG, PARTNER = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("scope", "is_free_tier", "payer"),
    [
        ("org", False, Payer("ORG", ORG)),
        ("org", True, Payer("PARTNER", PARTNER)),
        ("network", False, Payer("PARTNER", PARTNER)),
        ("network", True, Payer("PARTNER", PARTNER)),
    ],
)
def test_the_payer_follows_the_question_and_the_tier(scope, is_free_tier, payer):
    assert who_pays(scope, is_free_tier=is_free_tier, org_id=ORG, partner_id=PARTNER) == payer
