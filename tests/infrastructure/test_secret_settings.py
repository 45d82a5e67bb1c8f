"""Settings from AWS Secrets Manager: what wins over what, and the sentence for everything that can be wrong."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import uuid4

import pytest
from prefect_aws import AwsSecret
from pydantic import SecretStr

from blocks import BrightDataCredentials
from blocks.aws import role_credentials, secret_block
from blocks.configuration import settings_from_blocks
from tests.support.moto_server import REGION, Moto
from tests.support.secrets import assert_nothing_secret
from visibility.errors import ConfigurationError, RetryableError, VisibilityError
from visibility.settings import Settings

KEY, OTHER_KEY = "bd-live-7f3a91c0", "sk-live-5be2d8aa"
PASSWORD = "p4ssw0rd-of-analytics"
HELD = {"BRIGHTDATA_API_KEY": KEY, "OPENAI_API_KEY": OTHER_KEY, "DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d"}


@pytest.fixture
async def secret(prefect: str, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a secret of this test, which VISIBILITY_SECRET_BLOCK leads to; it holds nothing yet."""
    name = f"senso/{uuid4().hex[:12]}"
    moto.client("secretsmanager").create_secret(Name=name)
    document = name.replace("/", "-")
    await secret_block(name, REGION).save(document)
    monkeypatch.setenv("VISIBILITY_SECRET_BLOCK", document)
    return name


def put(moto: Moto, secret: str, held: Any) -> None:
    text = held if isinstance(held, str) else json.dumps(held)
    moto.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=text)


async def test_the_secret_wins_over_the_environment_and_a_block_over_the_secret(
    moto: Moto, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(moto, secret, {**HELD, "SHARDS": "4", "BRIGHTDATA_UNSUPPORTED_COUNTRIES": ["IR"], "LLM_BATCH": True})
    for name in HELD:
        monkeypatch.setenv(name, "of the environment")
    monkeypatch.setenv("BRIGHTDATA_POLL_SECONDS", "3")
    settings = await settings_from_blocks()
    assert settings.brightdata.api_key == SecretStr(KEY) and settings.database_url == HELD["DATABASE_URL"]
    assert (settings.shards, settings.llm.llm_batch) == (4, True)
    assert settings.brightdata.unsupported_countries == {"IR"}
    assert settings.brightdata.poll_seconds == 3, "what the secret does not hold comes from the environment"

    monkeypatch.setenv("VISIBILITY_BLOCKS", name := f"set-{uuid4().hex[:12]}")
    await BrightDataCredentials(api_key=SecretStr("of the block")).save(name)
    settings = await settings_from_blocks()
    assert settings.brightdata.api_key == SecretStr("of the block")
    assert settings.brightdata.unsupported_countries == {"IR"}, "a block lays its own fields over, and no other"
    assert settings.llm.openai_api_key == SecretStr(OTHER_KEY)


async def test_a_new_value_is_read_by_the_next_flow_run_of_the_same_process(moto: Moto, secret: str) -> None:
    put(moto, secret, HELD)
    assert (await settings_from_blocks()).brightdata.api_key == SecretStr(KEY)
    put(moto, secret, {**HELD, "BRIGHTDATA_API_KEY": "bd-live-rotated"})
    assert (await settings_from_blocks()).brightdata.api_key == SecretStr("bd-live-rotated")


async def test_a_simulation_never_opens_the_secret(moto: Moto, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIBILITY_SANDBOX", "true")
    put(moto, secret, HELD)
    moto.calls.clear()
    assert (await settings_from_blocks()).brightdata.api_key is None
    assert moto.calls == []


@pytest.mark.parametrize(
    ("held", "words"),
    [
        pytest.param({"OPENAI_API_KEY": OTHER_KEY}, ("BRIGHTDATA_API_KEY is not set", "it holds OPENAI"), id="no key"),
        pytest.param({**HELD, "BRIGHTDATA_API_KEY": None}, ("BRIGHTDATA_API_KEY is not set",), id="null"),
        pytest.param({"PREFECT_API_AUTH_STRING": KEY}, ("are not set", "it holds no setting"), id="none of ours"),
        pytest.param({**HELD, "DATABASE_URL": {"password": PASSWORD}}, ("DATABASE_URL is wrong", "shown"), id="dict"),
        pytest.param({**HELD, "SHARDS": PASSWORD}, ("SHARDS is wrong", "not shown"), id="no number"),
        pytest.param({**HELD, "LLM": OTHER_KEY, "BRIGHTDATA": KEY}, (), id="names of no setting"),
        pytest.param(f'{{"OPENAI_API_KEY": "{OTHER_KEY}"', ("is not a JSON object of settings",), id="cut off"),
        pytest.param(KEY, ("is not a JSON object of settings",), id="a bare key"),
        pytest.param([KEY], ("is not a JSON object of settings",), id="a list"),
    ],
)  # fmt: skip
async def test_a_secret_that_does_not_serve_is_one_sentence_without_its_values(
    moto: Moto, secret: str, held: Any, words: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    put(moto, secret, held)
    caplog.set_level(logging.DEBUG)  # of every library: boto3 would write down what the secret holds
    sentence = await sentence_of_reading() if words else "."
    for word in (*words, secret) if words and "wrong" not in sentence else words:
        assert word in sentence
    assert_nothing_secret([sentence, caplog.text, repr(Settings())], [KEY, OTHER_KEY, PASSWORD])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDeniedException", "secretsmanager:GetSecretValue"),
        ("ExpiredTokenException", "have expired"),
        ("SomethingNewException", "it is refused (SomethingNewException)"),
    ],
)
async def test_a_refusal_of_aws_is_one_sentence(moto: Moto, secret: str, code: str, words: str) -> None:
    moto.refuses = lambda call: code if call == "GetSecretValue" else None
    sentence = await sentence_of_reading()
    assert words in sentence and secret in sentence and "assumed-role" not in sentence


async def test_a_secret_without_value_or_that_does_not_exist_is_one_sentence(moto: Moto, secret: str) -> None:
    assert "has no value yet (ResourceNotFoundException)" in await sentence_of_reading()
    moto.client("secretsmanager").delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    assert "there is no such secret" in await sentence_of_reading()


async def test_a_block_that_does_not_exist_is_one_sentence(prefect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIBILITY_SECRET_BLOCK", "nowhere")
    assert "no block aws-secret/nowhere, which VISIBILITY_SECRET_BLOCK names" in await sentence_of_reading()


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("http://127.0.0.1:1", RetryableError, "cannot be reached for the secret senso/x"),
        (None, ConfigurationError, "there are no credentials or no region (NoCredentialsError)"),
    ],
)
async def test_an_aws_that_cannot_be_asked_is_one_sentence(
    prefect: str, moto: Moto, monkeypatch: pytest.MonkeyPatch, url: str | None, kind: type[VisibilityError], words: str
) -> None:
    credentials = role_credentials(REGION)
    credentials.aws_client_parameters.endpoint_url = url or moto.url
    await AwsSecret(secret_name="senso/x", aws_credentials=credentials).save(document := f"x-{uuid4().hex[:12]}")
    monkeypatch.setenv("VISIBILITY_SECRET_BLOCK", document)
    if url is None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert words in await sentence_of_reading(kind)


async def sentence_of_reading(kind: type[VisibilityError] = ConfigurationError) -> str:
    with pytest.raises(kind) as refused:
        await settings_from_blocks()
    sentence = str(refused.value)
    assert "\n" not in sentence and sentence.endswith(".")
    assert refused.value.__suppress_context__ or refused.value.__context__ is None, "a log would show what is behind"
    return sentence
