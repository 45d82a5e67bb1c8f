"""What `terraform output -json` says of AWS, read and checked before anything is made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from visibility.errors import ConfigurationError

Text = Annotated[str, Field(min_length=1)]
LOOKS_SECRET = re.compile("_KEY$|SECRET$|PASSWORD|TOKEN$|AUTH_STRING|DATABASE_URL|WEBHOOK_URL")
PREFIX = "VISIBILITY_AWS_"  # VISIBILITY_AWS_IMAGE overrides the output `image`; lists and maps are JSON


class Outputs(BaseModel):
    """The outputs of `deployments/terraform`, under their names there."""

    model_config = ConfigDict(frozen=True)

    region: Text
    project: Text
    environment: Text
    cluster_arn: Text
    cluster_name: Text
    vpc_id: Text
    subnet_ids: list[Text] = Field(min_length=1)
    security_group_id: Text
    assign_public_ip: bool
    execution_role_arn: Text
    flow_role_arn: Text
    image: Text
    cpu: int = Field(gt=0, description="CPU units, 1,024 are one vCPU")
    memory: int = Field(gt=0, description="MiB")
    cpu_architecture: Literal["ARM64", "X86_64"]
    launch_type: Literal["FARGATE", "FARGATE_SPOT"]
    flow_log_group: Text
    flow_family: Text
    secret_arn: Text
    secret_keys: list[str] = Field(description="JSON keys of the secret, the container's environment has them all")
    flow_environment: dict[str, str] = Field(default={}, description="settings of the flows in clear, such as SHARDS")
    prefect_auth_string_key: str | None = None
    prefect_api_url: Text
    results_bucket: Text
    events_queue_name: Text
    alerts_topic_arn: Text
    worker_service_name: Text
    work_pool: str = Field(default="ecs", pattern="^[a-zA-Z0-9][a-zA-Z0-9_-]*$")

    @field_validator("flow_environment")
    @classmethod
    def _nothing_secret(cls, given: dict[str, str]) -> dict[str, str]:
        """Refuse what Terraform's variable refuses too: everybody who may look at a task can read it."""
        if secret := sorted(name for name in given if LOOKS_SECRET.search(name)):
            raise ValueError(f"{', '.join(secret)} would be readable at every task; put it into the secret")
        return given


def read_outputs(path: Path | None, environ: Mapping[str, str]) -> Outputs:
    """Return the outputs in a file of `terraform output -json`, each overridden by `VISIBILITY_AWS_<NAME>`.

    Without a file everything comes from the environment. Raises ConfigurationError that names what is missing.
    """
    found = {} if path is None else _from_file(path)
    found |= {name: value for name in Outputs.model_fields if (value := _overridden(name, environ)) is not None}
    try:
        return Outputs.model_validate(found)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error, path)) from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows shells write a mark in front
    except OSError as error:
        raise ConfigurationError(f"The outputs of Terraform cannot be read: {error}.") from None
    except ValueError:
        raise ConfigurationError(f"{path} is not JSON; write it with `terraform output -json`.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no object of outputs; write it with `terraform output -json`.")
    wrapped = {name: entry["value"] if _is_wrapped(entry) else entry for name, entry in content.items()}
    return {name: value for name, value in wrapped.items() if value is not None}


def _is_wrapped(entry: object) -> bool:
    return isinstance(entry, dict) and "value" in entry


def _overridden(name: str, environ: Mapping[str, str]) -> Any:
    text = environ.get(f"{PREFIX}{name.upper()}")
    if text is None or not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigurationError(f"{PREFIX}{name.upper()} is not JSON: {text}.") from None


def _sentence(error: ValidationError, path: Path | None) -> str:
    missing = [str(one["loc"][0]) for one in error.errors() if one["type"] == "missing"]
    wrong = [f"{one['loc'][0]}: {one['msg']}" for one in error.errors() if one["type"] != "missing"]
    where = f"in {path}" if path else f"in the environment ({PREFIX}…)"
    parts = [f"missing {where}: {', '.join(missing)}"] if missing else []
    return f"The outputs of Terraform are not whole; {'; '.join(parts + wrong)}."
