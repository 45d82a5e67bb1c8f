"""How to reach the results."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from visibility.settings import Settings
from visibility.store.database import Database, connect


class ResultsDatabase(Block):
    """Address of the Postgres (14 or newer) that holds questions, answers, findings and money.

    Examples:
        Read from it:
        ```python
        from blocks import ResultsDatabase

        database = (await ResultsDatabase.aload("production")).get_client()
        ```
    """

    _block_type_name = "Senso Results Database"
    _block_type_slug = "senso-results-database"

    url: SecretStr = Field(description="Address with user and password: postgresql://user:password@host:port/name.")
    pool_size: int = Field(default=10, ge=1, le=100, description="Connections per process.")

    def over(self, settings: Settings) -> Settings:
        """Return `settings` with this block's address and pool size."""
        changes = {"database_url": self.url.get_secret_value(), "database_pool_size": self.pool_size}
        return settings.model_copy(update=changes)

    def get_client(self) -> Database:
        """Return a checked connection pool; the caller closes it."""
        return connect(self.over(Settings()))
