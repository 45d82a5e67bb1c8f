"""How to reach Bright Data."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from visibility.providers.brightdata.client import BrightDataClient
from visibility.settings import BrightDataSettings, Settings


class BrightDataCredentials(Block):
    """Key and address of a Bright Data account with the ChatGPT, Perplexity and Gemini scrapers.

    Examples:
        Get a client:
        ```python
        from blocks import BrightDataCredentials

        credentials = await BrightDataCredentials.aload("production")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "Senso Bright Data Credentials"
    _block_type_slug = "senso-bright-data-credentials"

    api_key: SecretStr = Field(description="API key; sent in the Authorization header only.")
    base_url: str = Field(
        default="https://api.brightdata.com/datasets/v3", description="Address of the Web Scraper API."
    )

    def over(self, settings: Settings) -> Settings:
        """Return `settings` with this block's key and address."""
        changes = {"api_key": self.api_key, "base_url": self.base_url}
        return settings.model_copy(update={"brightdata": settings.brightdata.model_copy(update=changes)})

    def settings(self) -> BrightDataSettings:
        """Return the environment's settings with this block's key and address."""
        return self.over(Settings()).brightdata

    def get_client(self) -> BrightDataClient:
        """Return an HTTP client of the account; the caller closes it."""
        return BrightDataClient(self.settings())
