from __future__ import annotations

import pytest

from visibility.errors import ConfigurationError
from visibility.llm.endpoint import endpoint_of
from visibility.settings import LlmSettings

AZURE = {
    "azure_openai_endpoint": "https://x.openai.azure.com/",
    "azure_openai_api_key": "azure-key",
    "azure_openai_deployment": "luna-eu",
}


@pytest.mark.parametrize("missing", sorted(AZURE))
def test_half_an_azure_configuration_is_an_error_that_names_what_is_missing(missing: str) -> None:
    settings = LlmSettings(openai_api_key="k", **{name: value for name, value in AZURE.items() if name != missing})
    with pytest.raises(ConfigurationError, match=missing.upper()):
        endpoint_of(settings)


def test_a_complete_azure_configuration_wins_over_openai() -> None:
    endpoint = endpoint_of(LlmSettings(openai_api_key="k", **AZURE))
    assert (endpoint.base_url, endpoint.key, endpoint.deployment) == (
        "https://x.openai.azure.com/openai/v1/", "azure-key", "luna-eu",
    )  # fmt: skip


def test_without_any_key_the_missing_setting_is_named() -> None:
    assert not LlmSettings(openai_api_key=None).configured
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        endpoint_of(LlmSettings(openai_api_key=None))


def test_a_key_is_not_shown_in_the_endpoints_repr() -> None:
    assert "sk-secret" not in repr(endpoint_of(LlmSettings(openai_api_key="sk-secret")))
