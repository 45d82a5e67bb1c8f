"""How to reach the extraction LLM: OpenAI, or Azure OpenAI."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from visibility.llm.client import LlmClient
from visibility.settings import LlmSettings, Settings


class OpenAICredentials(Block):
    """Key and address of an OpenAI project that reads answers.

    Examples:
        Get a client:
        ```python
        from blocks import OpenAICredentials

        client = (await OpenAICredentials.aload("production")).get_client()
        ```
    """

    _block_type_name = "Senso OpenAI Credentials"
    _block_type_slug = "senso-openai-credentials"

    api_key: SecretStr = Field(description="API key; sent in the Authorization header only.")
    base_url: str = Field(default="https://api.openai.com/v1", description="Address of the API.")

    def over(self, settings: Settings) -> Settings:
        """Return `settings` with this block's key and address, without Azure's."""
        changes = {
            "openai_api_key": self.api_key,
            "openai_base_url": self.base_url,
            "azure_openai_endpoint": None,
            "azure_openai_api_key": None,
            "azure_openai_deployment": None,
        }
        return settings.model_copy(update={"llm": settings.llm.model_copy(update=changes)})

    def settings(self) -> LlmSettings:
        """Return the environment's settings with this block's key and address, without Azure's."""
        return self.over(Settings()).llm

    def get_client(self) -> LlmClient:
        """Return a client of the project; the caller closes it."""
        return LlmClient(self.settings())


class AzureOpenAICredentials(Block):
    """Endpoint, key and deployment of an Azure OpenAI resource that reads answers.

    Examples:
        Get a client:
        ```python
        from blocks import AzureOpenAICredentials

        client = (await AzureOpenAICredentials.aload("production")).get_client()
        ```
    """

    _block_type_name = "Senso Azure OpenAI Credentials"
    _block_type_slug = "senso-azure-openai-credentials"

    endpoint: str = Field(description="Address of the resource, e.g. https://NAME.openai.azure.com.")
    api_key: SecretStr = Field(description="Key of the resource; sent in a header only.")
    deployment: str = Field(description="Name of the model deployment.")

    def over(self, settings: Settings) -> Settings:
        """Return `settings` with this block's endpoint, key and deployment."""
        changes = {
            "azure_openai_endpoint": self.endpoint,
            "azure_openai_api_key": self.api_key,
            "azure_openai_deployment": self.deployment,
        }
        return settings.model_copy(update={"llm": settings.llm.model_copy(update=changes)})

    def settings(self) -> LlmSettings:
        """Return the environment's settings with this block's endpoint, key and deployment."""
        return self.over(Settings()).llm

    def get_client(self) -> LlmClient:
        """Return a client of the resource; the caller closes it."""
        return LlmClient(self.settings())
