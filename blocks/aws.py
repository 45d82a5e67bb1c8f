"""What a deployment on AWS keeps there: settings in Secrets Manager, results and reports in S3.

`VISIBILITY_SECRET_BLOCK=visibility` names the document `aws-secret/visibility`; the secret's text is one JSON object
with settings under their names in the environment: `{"DATABASE_URL": "…", "BRIGHTDATA_API_KEY": "…"}`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from blocks.documents import load_document
from visibility.errors import ConfigurationError, RetryableError, VisibilityError
from visibility.settings import BrightDataSettings, LlmSettings, Settings, setting_names

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError
    from prefect_aws import AwsCredentials, AwsSecret, S3Bucket

SECRET_DOCUMENT = "visibility"
RESULTS_DOCUMENT = "visibility-results"
RESULTS_FOLDER = "results"
REPORTS_FOLDER = "reports"
S3_BUCKET = "s3-bucket"  # how Prefect names that type of block

# botocore's own would wait a minute for each of five connections, while a flow holds its batch
PATIENCE: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}

REFUSALS = {
    "AccessDeniedException": "the role may not read it; it needs secretsmanager:GetSecretValue on this secret",
    "ResourceNotFoundException": "there is no such secret in this account and region, or it has no value yet",
    "InvalidRequestException": "it is scheduled for deletion",
    "DecryptionFailure": "the role may not decrypt it; it needs kms:Decrypt on the secret's key",
    "ExpiredTokenException": "the credentials have expired",
    "UnrecognizedClientException": "the credentials are not valid",
    "InvalidSignatureException": "the credentials are not valid",
}
PASSING = frozenset({"ThrottlingException", "InternalServiceError", "InternalServiceErrorException"})
WITHOUT_CREDENTIALS = ("NoCredentials", "PartialCredentials", "CredentialRetrieval", "NoRegion", "ProfileNotFound")


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """Settings of a secret by their names in the environment, and what to call the secret in a sentence."""

    called: str
    values: dict[str, Any] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Names of the settings that are there and not null, in alphabetical order."""
        known = {name for kind in (Settings, BrightDataSettings, LlmSettings) for name in setting_names(kind)}
        return sorted(name for name, value in self.values.items() if name in known and value is not None)


async def read_secret_settings(document: str) -> SecretSettings:
    """Read the settings of the secret that the document `aws-secret/<document>` names, as they are now.

    Raises ConfigurationError for a document or a secret that is not there, may not be read or is no JSON object, and
    RetryableError while Secrets Manager cannot be reached; neither quotes anything of the secret.
    """
    from prefect_aws import AwsSecret  # only here: boto3 costs a third of a second to import

    block: AwsSecret | None = await load_document(AwsSecret, document)
    if block is None:
        raise ConfigurationError(
            f"There is no block aws-secret/{document}, which VISIBILITY_SECRET_BLOCK names; "
            "`python -m deployments.bootstrap` saves it."
        )
    called = f"the secret {block.secret_name} (block aws-secret/{document})"
    _keep_replies_out_of_logs()
    with _our_errors(called):
        content = await block.aread_secret()
    return SecretSettings(called, _settings_in(content, called))


def _keep_replies_out_of_logs() -> None:
    """Botocore writes every reply into its debug log, with all that the secret holds."""
    parsers = logging.getLogger("botocore.parsers")
    parsers.setLevel(max(parsers.level, logging.INFO))


def _settings_in(content: str | bytes, called: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigurationError(
            f'{called[0].upper()}{called[1:]} is not a JSON object of settings such as {{"OPENAI_API_KEY": "…"}}.'
        )
    return values


@contextmanager
def _our_errors(called: str) -> Iterator[None]:
    """Translate what boto3 raises; its own texts, with account and role, stay out of states and logs."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(error, called) from None
    except BotoCoreError as error:
        raise _unreachable(error, called) from None


def _refusal(error: ClientError, called: str) -> VisibilityError:
    code = error.response.get("Error", {}).get("Code", "no code")
    if code in PASSING:
        return RetryableError(f"AWS cannot give {called} at the moment ({code}); nothing was asked.")
    return ConfigurationError(f"AWS does not give {called}: {REFUSALS.get(code, 'it is refused')} ({code}).")


def _unreachable(error: BotoCoreError, called: str) -> VisibilityError:
    kind = type(error).__name__
    if kind.startswith(WITHOUT_CREDENTIALS):
        return ConfigurationError(
            f"AWS cannot be asked for {called}: there are no credentials or no region ({kind}); "
            "a role, AWS_… variables or the block's AWS Credentials give them."
        )
    return RetryableError(f"AWS Secrets Manager cannot be reached for {called} ({kind}); nothing was asked.")


def is_from_aws(error: BaseException) -> bool:
    """True for what boto3 raises when a service refuses or cannot be reached."""
    return type(error).__module__.partition(".")[0] in ("boto3", "botocore", "s3transfer")


def secret_block(secret_name: str, region: str | None = None) -> AwsSecret:
    """Return the block of a secret's name or ARN, to be saved as `aws-secret/visibility`; it holds no key itself."""
    from prefect_aws import AwsSecret

    return AwsSecret(secret_name=secret_name, aws_credentials=role_credentials(region))


def results_block(bucket: str, region: str | None = None) -> S3Bucket:
    """Return the block of result storage, to be saved as `s3-bucket/visibility-results`."""
    from prefect_aws import S3Bucket

    return S3Bucket(bucket_name=bucket, bucket_folder=RESULTS_FOLDER, credentials=role_credentials(region))


def role_credentials(region: str | None = None) -> AwsCredentials:
    """Return credentials without any key: the role of the task, or AWS_… variables, at the time of use."""
    from prefect_aws import AwsCredentials
    from prefect_aws.client_parameters import AwsClientParameters

    return AwsCredentials(region_name=region, aws_client_parameters=AwsClientParameters(config=PATIENCE))


async def reports_bucket() -> S3Bucket | None:
    """Return the bucket of Prefect's result storage, with the folder `reports` beside that of the results.

    Results expire there and reports stay. None where results are not kept in S3. Raises ConfigurationError for a
    block that is not there.
    """
    from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK

    kind, _, document = (PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value() or "").partition("/")
    if kind != S3_BUCKET:
        return None
    from prefect_aws import S3Bucket  # only here: boto3 costs a third of a second to import

    block: S3Bucket | None = await load_document(S3Bucket, document)
    if block is None:
        raise ConfigurationError(
            f"There is no block {S3_BUCKET}/{document}, which PREFECT_DEFAULT_RESULT_STORAGE_BLOCK names; "
            "`python -m deployments.bootstrap` saves it."
        )
    folder = PurePosixPath(block.bucket_folder).parent / REPORTS_FOLDER
    return block.model_copy(update={"bucket_folder": folder.as_posix()})
