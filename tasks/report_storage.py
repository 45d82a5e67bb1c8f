"""Where a report's files are kept: a folder, or on AWS the bucket of Prefect's results."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blocks.aws import WITHOUT_CREDENTIALS, is_from_aws, reports_bucket
from visibility.errors import ConfigurationError, RetryableError, VisibilityError
from visibility.report.folders import PAGE, check_writable, move_into_place
from visibility.report.summary import Stored

if TYPE_CHECKING:
    from prefect_aws import S3Bucket

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}
REPORTS = "reports"
REFUSED = ("AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


@dataclass(frozen=True, slots=True)
class FolderOfReports:
    """Reports in a folder of this machine; each is there as a whole or not at all."""

    folder: Path

    @property
    def scratch(self) -> Path:
        """Where to write: in the same file system, so that renaming is one step."""
        return self.folder

    async def keep(self, finished: Path, name: str) -> Stored:
        """Move the finished folder to its name."""
        kept = (await asyncio.to_thread(move_into_place, finished, self.folder / name)).resolve()
        return Stored(str(kept), (kept / PAGE).as_uri())


@dataclass(frozen=True, slots=True)
class BucketOfReports:
    """Reports in S3; the page comes last, so that whoever sees it finds everything else."""

    bucket: S3Bucket

    @property
    def scratch(self) -> Path:
        """Where to write before it is uploaded."""
        return Path(gettempdir())

    async def keep(self, finished: Path, name: str) -> Stored:
        """Upload the finished folder. Raises ConfigurationError where AWS refuses, RetryableError where it is away."""
        return await asyncio.to_thread(self._upload, finished, name)

    def _upload(self, finished: Path, name: str) -> Stored:
        bucket, prefix = self.bucket.bucket_name, f"{self.bucket.bucket_folder}/{name}"
        try:
            client = self.bucket.credentials.get_client("s3")
            for path in sorted(finished.iterdir(), key=lambda path: (path.name == PAGE, path.name)):
                kind = {"ContentType": CONTENT_TYPES[path.suffix]}
                client.upload_file(str(path), bucket, f"{prefix}/{path.name}", ExtraArgs=kind)
        except Exception as error:
            if not is_from_aws(error):
                raise
            raise _refusal(error, f"s3://{bucket}/{prefix}") from None
        return Stored(f"s3://{bucket}/{prefix}", _console(client, bucket, f"{prefix}/{PAGE}"))


async def reports_place(data_folder: Path, output: Path | None) -> FolderOfReports | BucketOfReports:
    """Return where to keep reports: in the given folder, else in the bucket of results, else in the data folder.

    Raises InvalidInput for a folder that cannot be written, ConfigurationError for a bucket's block that is not there.
    """
    bucket = await reports_bucket() if output is None else None
    if bucket is not None:
        return BucketOfReports(bucket)
    folder = output or data_folder / REPORTS
    check_writable(folder)
    return FolderOfReports(folder)


def _console(client: Any, bucket: str, key: str) -> str:
    """Return where the AWS console shows an object; who opens it signs in there, the bucket is not public."""
    region = client.meta.region_name
    return f"https://{region}.console.aws.amazon.com/s3/object/{bucket}?region={region}&prefix={quote(key, safe='')}"


def _refusal(error: Exception, where: str) -> VisibilityError:
    """Translate what boto3 raises; its own texts, with account and role, stay out of states and logs."""
    kind = type(error).__name__
    code = re.search(r"error occurred \((\w+)\)", str(error))
    if kind.startswith(WITHOUT_CREDENTIALS):
        return ConfigurationError(f"The report cannot be stored in {where}: no AWS credentials or region ({kind}).")
    if code and code[1] in REFUSED:
        return ConfigurationError(
            f"AWS does not take the report in {where} ({code[1]}): the bucket must be there, and the role needs "
            "s3:PutObject in it."
        )
    return RetryableError(f"S3 cannot take the report in {where} at the moment ({code[1] if code else kind}).")
