"""Every table, declared once; a test holds that the migrations make exactly these."""

from visibility.store.tables.base import EXACTLY_ONE_OWNER, MONEY, UTC_TIMESTAMP, Base
from visibility.store.tables.batches import Batch, ProviderJob, QuestionRunRow, ReadingLease
from visibility.store.tables.findings import AnswerBrand, BrandReading, LlmCallRow, OrgCitation, OrgCompetitor, OrgEval
from visibility.store.tables.llm_batches import LlmBatch, LlmBatchRequest
from visibility.store.tables.money import CreditBalance, CreditHold, CreditTopUp, LedgerEntry, PricingConfig
from visibility.store.tables.tenants import (
    GeoModel,
    GeoQuestion,
    LocationRow,
    Network,
    OrgRow,
    OrgWebsite,
    Partner,
    Schedule,
)

__all__ = [
    "EXACTLY_ONE_OWNER",
    "MONEY",
    "UTC_TIMESTAMP",
    "AnswerBrand",
    "Base",
    "Batch",
    "BrandReading",
    "CreditBalance",
    "CreditHold",
    "CreditTopUp",
    "GeoModel",
    "GeoQuestion",
    "LedgerEntry",
    "LlmBatch",
    "LlmBatchRequest",
    "LlmCallRow",
    "LocationRow",
    "Network",
    "OrgCitation",
    "OrgCompetitor",
    "OrgEval",
    "OrgRow",
    "OrgWebsite",
    "Partner",
    "PricingConfig",
    "ProviderJob",
    "QuestionRunRow",
    "ReadingLease",
    "Schedule",
]
