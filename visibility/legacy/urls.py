"""Which databases are meant: the old one and ours, said before anything is done."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL

from visibility.errors import ConfigurationError, InvalidInput
from visibility.settings import Settings, read_settings


class LegacySettings(BaseSettings):
    """Where the old system's Postgres is: an option, else the environment, else `.env`."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", hide_input_in_errors=True)

    legacy_database_url: str | None = Field(default=None, repr=False)


def legacy_url(given: str | None) -> str:
    """Return the URL of the old database. Raises ConfigurationError where nobody says it."""
    found = given or LegacySettings().legacy_database_url
    if not found:
        raise ConfigurationError(
            "LEGACY_DATABASE_URL is not set. Set it in the environment or in .env, or pass --legacy-url."
        )
    return found


def our_settings(given: str | None, embedded: bool) -> Settings:
    """Return settings with our database in them.

    Raises ConfigurationError where none is named: an embedded one is never meant by mistake.
    """
    if given and embedded:
        raise InvalidInput("Either --database-url or --embedded, not both.")
    settings = read_settings()
    if not (given or embedded or settings.database_url):
        raise ConfigurationError(
            "DATABASE_URL is not set. Set it in the environment or in .env, or pass --database-url, "
            "or --embedded for the embedded database of this machine."
        )
    return settings.model_copy(update={"database_url": None if embedded else given or settings.database_url})


def shown(url: URL) -> str:
    """Return host and database: never user, password or options."""
    host = url.host or url.query.get("host") or "localhost"
    return f"{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"
