"""Which LLM account is used: OpenAI, or Azure OpenAI when all three of its settings are there."""

from __future__ import annotations

from dataclasses import dataclass, field

from visibility.errors import ConfigurationError
from visibility.settings import LlmSettings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go; `deployment` is set for Azure only and is sent as the model."""

    base_url: str
    key: str = field(repr=False)
    deployment: str | None = None


def endpoint_of(settings: LlmSettings) -> Endpoint:
    """Return Azure when its endpoint, key and deployment are all set, else OpenAI.

    Raises ConfigurationError naming what is missing.
    """
    azure = {
        "AZURE_OPENAI_ENDPOINT": settings.azure_openai_endpoint,
        "AZURE_OPENAI_API_KEY": settings.azure_openai_api_key,
        "AZURE_OPENAI_DEPLOYMENT": settings.azure_openai_deployment,
    }
    missing = [name for name, value in azure.items() if not value]
    if not missing and settings.azure_openai_endpoint and settings.azure_openai_api_key:
        base = settings.azure_openai_endpoint.rstrip("/").removesuffix("/openai/v1")
        key = settings.azure_openai_api_key.get_secret_value()
        return Endpoint(base_url=f"{base}/openai/v1/", key=key, deployment=settings.azure_openai_deployment)
    if len(missing) < len(azure):
        raise ConfigurationError(f"Azure OpenAI is only partly configured; missing: {', '.join(missing)}.")
    if settings.openai_api_key is None or not settings.openai_api_key.get_secret_value():
        raise ConfigurationError("No LLM is configured: set OPENAI_API_KEY, or the three AZURE_OPENAI_… settings.")
    return Endpoint(base_url=settings.openai_base_url, key=settings.openai_api_key.get_secret_value())
