"""How to reach Bright Data."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from visibility.providers.brightdata.client import BrightDataClient
from visibility.settings import BrightDataSettings


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

    def settings(self) -> BrightDataSettings:
        """Return the environment's settings with this block's key and address."""
        return BrightDataSettings(api_key=self.api_key, base_url=self.base_url)

    def get_client(self) -> BrightDataClient:
        """Return an HTTP client of the account; the caller closes it."""
        return BrightDataClient(self.settings())
