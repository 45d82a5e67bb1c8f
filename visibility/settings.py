"""All settings of the product, read once at the edge from the environment and `.env`, then passed in.

Variable names are the field names in upper case, e.g. `DATABASE_URL`, `BRIGHTDATA_API_KEY`,
`BRIGHTDATA_POLL_SECONDS`, `OPENAI_API_KEY`, `COVERAGE_THRESHOLD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from visibility.errors import ConfigurationError


class BrightDataSettings(BaseSettings):
    """Bright Data Web Scraper API v3; durations in seconds, prices in USD."""

    model_config = SettingsConfigDict(
        env_prefix="BRIGHTDATA_", env_file=".env", extra="ignore", hide_input_in_errors=True
    )

    base_url: str = "https://api.brightdata.com/datasets/v3"
    api_key: SecretStr | None = None
    chatgpt_dataset_id: str = "gd_m7aof0k82r803d5bjm"
    perplexity_dataset_id: str = "gd_m7dhdot1vw9a7gc1n"
    gemini_dataset_id: str = "gd_mbz66arm2mf9cu856y"
    unsupported_countries: frozenset[str] = Field(
        default=frozenset({"CU", "IR", "KP", "SY"}), description="codes no engine answers from"
    )
    price_per_record_usd: Decimal = Decimal("0.0015")
    max_inputs_per_job: int = Field(default=100, ge=1, le=5000)
    max_running_jobs: int = Field(default=100, ge=1)
    submissions_per_minute: float = Field(default=10, gt=0)
    poll_seconds: float = Field(default=10, gt=0)
    deadline_seconds: float = Field(default=1200, gt=0)
    linger_seconds: float = Field(default=2, ge=0)
    request_timeout_seconds: float = Field(default=60, gt=0)
    max_failed_polls: int = Field(default=10, ge=1)
    rate_limit_backoff_seconds: float = Field(default=2, gt=0, description="first wait after a 429; doubles 4 times")
    adoption_grace_seconds: float = Field(default=15, ge=0, description="how long a lost job may take to be listed")
    submit_timeout_seconds: float = Field(default=180, gt=0, description="after this a `submitting` job is nobody's")
    engine_failures: int = Field(default=5, ge=1, description="jobs in a row that fail before an engine gets a pause")
    engine_pause_seconds: float = Field(default=300, gt=0, description="then one job tries the engine again")


LLM_BATCH_DURATIONS = tuple(f"llm_batch_{name}_seconds" for name in ("linger", "poll", "deadline", "grace"))


class LlmSettings(BaseSettings):
    """The extraction model; OpenAI, or Azure OpenAI when all three Azure settings are set."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", hide_input_in_errors=True)

    openai_api_key: SecretStr | None = None
    openai_base_url: str = "https://api.openai.com/v1"
    azure_openai_endpoint: str | None = None
    azure_openai_api_key: SecretStr | None = None
    azure_openai_deployment: str | None = None
    evaluation_model: str = "gpt-6-luna"
    brands_model: str = "gpt-6-luna"
    names_model: str = "gpt-6-luna"
    llm_concurrency: int = Field(default=256, ge=1)
    llm_timeout_seconds: float = Field(default=60, gt=0)
    llm_max_attempts: int = Field(default=5, ge=1)
    llm_backoff_seconds: float = Field(default=0.5, gt=0, description="first wait; doubles, with jitter")
    llm_requests_per_minute: float | None = Field(default=None, gt=0, description="of all shards; None: no limit")
    llm_tokens_per_minute: float | None = Field(default=None, gt=0, description="of all shards; None: no limit")
    llm_batch: bool = Field(default=False, description="nights and re-evaluations may wait a day, at half the price")
    llm_batch_linger_seconds: float = Field(default=120, ge=0, description="how long a batch waits for more requests")
    llm_batch_poll_seconds: float = Field(default=60, gt=0)
    llm_batch_max_requests: int = Field(default=5000, ge=1, le=50_000)
    llm_batch_deadline_seconds: float = Field(
        default=90_000, gt=0, description="then a batch is cancelled, and what it has not answered is asked directly"
    )
    llm_batch_grace_seconds: float = Field(default=60, ge=0, description="how long a lost batch may take to be listed")
    answers_per_call: int = Field(default=1, ge=1, le=20)
    rule_only_fallback: bool = Field(default=False, description="evaluate by rule alone when no LLM is configured")

    @property
    def configured(self) -> bool:
        """True when a key of OpenAI or any setting of Azure OpenAI is there."""
        azure = (self.azure_openai_endpoint, self.azure_openai_api_key, self.azure_openai_deployment)
        return bool(self.openai_api_key) or any(azure)


class Settings(BaseSettings):
    """Everything else, with the two vendors inside; durations in seconds, ratios 0–1."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", hide_input_in_errors=True)

    database_url: str | None = Field(
        default=None, repr=False, description="Postgres 14+; without it an embedded one is started"
    )
    data_folder: Path = Field(
        default_factory=lambda: user_data_path("senso-workflows"), validation_alias="VISIBILITY_DATA_FOLDER"
    )
    database_pool_size: int = Field(default=10, ge=1, le=100)
    coverage_threshold: float = Field(default=0.8, ge=0, le=1)
    failed_children_threshold: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="a larger part of members that failed fails a network",
    )
    orgs_in_flight: int = Field(default=50, ge=1, description="flows of orgs at a time in one process")
    shard_orgs: int = Field(default=50, ge=1, le=5000, description="orgs in one flow run of a night on the work pool")
    replicates: int = Field(default=1, ge=1, le=20)
    max_attempts: int = Field(default=4, ge=1, description="how often one question run may be asked in all")
    lease_seconds: float = Field(default=60, gt=0)
    hold_hours: float = Field(default=24, gt=0)
    reconcile_days: float = Field(default=7, gt=0, description="what flows left in older batches is not looked for")
    evaluation_chunk: int = Field(default=25, ge=1, description="evaluations written in one transaction")
    blocks: str | None = Field(
        default=None, validation_alias="VISIBILITY_BLOCKS", description="name of the block documents of this deployment"
    )
    secret_block: str | None = Field(
        default=None,
        validation_alias="VISIBILITY_SECRET_BLOCK",
        description="name of the prefect-aws AwsSecret block whose secret holds settings",
    )
    slack_webhook_block: str | None = Field(default=None, description="name of a prefect-slack SlackWebhook block")
    sandbox: bool = Field(default=False, validation_alias="VISIBILITY_SANDBOX", description="results are simulated")
    shards: int = Field(default=1, ge=1, description="processes that share the vendors' accounts; limits are split")
    global_limits: bool = Field(
        default=False,
        validation_alias="VISIBILITY_GLOBAL_LIMITS",
        description="vendor jobs of all processes keep to the limits at the Prefect server",
    )
    brightdata: BrightDataSettings = Field(default_factory=BrightDataSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)

    @property
    def hold_seconds(self) -> float:
        """How long a hold lasts; with LLM_BATCH an evaluation may wait for two batches, one after the other."""
        return self.hold_hours * 3600 + (2 * self.llm.llm_batch_deadline_seconds if self.llm.llm_batch else 0)

    def require_keys(self, *, asks: bool = True) -> None:
        """Raise ConfigurationError that names what is missing to ask (where `asks`) and to read answers."""
        missing = [] if self.brightdata.api_key or not asks else ["BRIGHTDATA_API_KEY"]
        if not self.llm.configured and not self.llm.rule_only_fallback:
            missing.append("OPENAI_API_KEY (or the three AZURE_OPENAI_ settings)")
        if missing:
            verb, pronoun = ("is", "it") if len(missing) == 1 else ("are", "them")
            raise ConfigurationError(
                f"{' and '.join(missing)} {verb} not set. Set {pronoun} in the environment or in .env, "
                "or try the product without keys: add --sandbox."
            )

    def for_sandbox(self, url: str, time_scale: float) -> Settings:
        """Return these settings pointed at a sandbox, every vendor duration divided by its time scale."""
        bright_data = self.brightdata
        scaled = {
            name: getattr(bright_data, name) / time_scale
            for name in (
                "poll_seconds",
                "linger_seconds",
                "adoption_grace_seconds",
                "rate_limit_backoff_seconds",
                "engine_pause_seconds",
            )
        }
        for name, floor in (("deadline_seconds", 30.0), ("request_timeout_seconds", 15.0)):
            scaled[name] = max(getattr(bright_data, name) / time_scale, floor)
        scaled["submissions_per_minute"] = bright_data.submissions_per_minute * time_scale
        sandbox_key = SecretStr("sandbox")
        return self.model_copy(
            update={
                "sandbox": True,
                "global_limits": False,  # a simulation does not use up the real account's
                "brightdata": bright_data.model_copy(
                    update={**scaled, "base_url": f"{url}/datasets/v3", "api_key": sandbox_key}
                ),
                "llm": self.llm.model_copy(
                    update={
                        "openai_base_url": f"{url}/v1",
                        "openai_api_key": sandbox_key,
                        "llm_timeout_seconds": max(self.llm.llm_timeout_seconds / time_scale, 15.0),
                        "llm_backoff_seconds": self.llm.llm_backoff_seconds / time_scale,
                        **{name: getattr(self.llm, name) / time_scale for name in LLM_BATCH_DURATIONS},
                        "azure_openai_endpoint": None,
                        "azure_openai_api_key": None,
                        "azure_openai_deployment": None,
                    }
                ),
            }
        )


NOTHING: Mapping[str, Any] = MappingProxyType({})


def read_settings(secret: Mapping[str, Any] = NOTHING) -> Settings:
    """Read the environment and `.env`; what a secret holds under the same names is laid over them.

    Raises ConfigurationError that names the setting and its wrong value, but for a value of the secret.
    """
    try:
        vendors = {
            "brightdata": BrightDataSettings(**_arguments(BrightDataSettings, secret)),
            "llm": LlmSettings(**_arguments(LlmSettings, secret)),
        }
        return Settings(**_arguments(Settings, secret) | vendors)
    except ValidationError as error:
        raise _wrong_setting(error, secret) from None  # its text would quote the value
    except SettingsError as error:  # a list that is not JSON
        raise ConfigurationError(f"A setting cannot be read, it must be JSON: {error}.") from error


def setting_names(settings_class: type[BaseSettings]) -> dict[str, str]:
    """Return the names of a class's settings in the environment, each with the name that its constructor takes."""
    prefix = settings_class.model_config.get("env_prefix", "")
    aliases = {name: field.validation_alias for name, field in settings_class.model_fields.items()}
    return {
        **{f"{prefix}{name}".upper(): name for name, alias in aliases.items() if alias is None},
        **{alias: alias for alias in aliases.values() if isinstance(alias, str)},
    }


def _arguments(settings_class: type[BaseSettings], secret: Mapping[str, Any]) -> dict[str, Any]:
    names = setting_names(settings_class)
    return {names[name]: value for name, value in secret.items() if name in names}


def _wrong_setting(error: ValidationError, secret: Mapping[str, Any]) -> ConfigurationError:
    wrong = error.errors(include_url=False)[0]
    prefix = BrightDataSettings.model_config["env_prefix"] if error.title == BrightDataSettings.__name__ else ""
    name = f"{prefix}{wrong['loc'][0]}".upper()
    value = "its value in the secret is not shown" if name in secret else f"not {wrong['input']!r}"
    return ConfigurationError(f"The setting {name} is wrong: {wrong['msg']}, {value}.")
