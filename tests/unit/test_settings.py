"""Settings: what is wrong is named, a sandbox is pointed at completely, secrets stay secret."""

from __future__ import annotations

import pytest

from visibility.errors import ConfigurationError
from visibility.settings import Settings, read_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COVERAGE_THRESHOLD", "7"),
        ("BRIGHTDATA_POLL_SECONDS", "abc"),
        ("LLM_CONCURRENCY", "0"),
        ("VISIBILITY_SANDBOX", "perhaps"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^The setting {name} is wrong: .*, not '{value}'\\.$"):
        read_settings()


def test_a_list_that_is_not_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIGHTDATA_UNSUPPORTED_COUNTRIES", "CU IR")
    with pytest.raises(ConfigurationError, match="unsupported_countries"):
        read_settings()


def test_every_missing_key_is_named_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings().require_keys()
    for word in ("BRIGHTDATA_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_", "--sandbox"):
        assert word in refused.value.message


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "BRIGHTDATA_API_KEY"])
def test_an_empty_key_counts_as_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("BRIGHTDATA_API_KEY", "key")
    monkeypatch.setenv(name, "")
    with pytest.raises(ConfigurationError, match=f"^{name} .*is not set"):
        read_settings().require_keys()


def test_rule_only_reading_needs_no_llm_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIGHTDATA_API_KEY", "key")
    monkeypatch.setenv("RULE_ONLY_FALLBACK", "true")
    read_settings().require_keys()


def test_for_the_sandbox_no_real_key_or_address_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIGHTDATA_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "real-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://real.example")
    settings = read_settings().for_sandbox("http://127.0.0.1:9", 60)
    assert settings.sandbox
    values = [settings.brightdata.base_url, settings.llm.openai_base_url, settings.llm.azure_openai_endpoint]
    assert values == ["http://127.0.0.1:9/datasets/v3", "http://127.0.0.1:9/v1", None]
    keys = (settings.brightdata.api_key, settings.llm.openai_api_key, settings.llm.azure_openai_api_key)
    assert [key and key.get_secret_value() for key in keys] == ["sandbox", "sandbox", None]


def test_durations_shrink_with_the_sandbox_but_not_to_nothing() -> None:
    settings = Settings().for_sandbox("http://127.0.0.1:9", 1000)
    assert settings.brightdata.poll_seconds == pytest.approx(0.01)
    assert settings.brightdata.deadline_seconds == 30
    assert settings.llm.llm_timeout_seconds == 15


def test_keys_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIGHTDATA_API_KEY", "very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    assert "very-secret" not in repr(read_settings())


def test_with_batches_a_hold_outlives_two_of_them_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = read_settings().hold_seconds / 3600
    monkeypatch.setenv("LLM_BATCH", "true")
    assert (hours, read_settings().hold_seconds / 3600) == (24, 24 + 2 * 25)


def test_for_the_sandbox_the_durations_of_batches_are_scaled() -> None:
    llm = read_settings().for_sandbox("http://127.0.0.1:9", 60).llm
    assert (llm.llm_batch_linger_seconds, llm.llm_batch_poll_seconds, llm.llm_batch_deadline_seconds) == (2, 1, 1500)
