# ruff: noqa: N802 (the protocol names its methods)
"""A provider for the real terraform that knows the schema of AWS and creates what it is told in moto.

`with serving() as environment:` gives the environment in which `terraform` finds it; nothing is downloaded. Protocol 5
of Terraform's plugins; what AWS itself would check or compute is not here, so that it cannot be believed to be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgpack
from tfplugin_proto import tfplugin5_5_pb2 as messages
from tfplugin_proto import tfplugin5_5_pb2_grpc as services

from tests.support.terraform.moto_resources import create, read

SCHEMA = Path(__file__).parent / "aws-6.25.0.json"
ADDRESS = "registry.terraform.io/hashicorp/aws"
UNKNOWN = msgpack.ExtType(0, b"\x00")
Values = dict[str, Any]


class AwsProvider(services.ProviderServicer):
    """Validates nothing beyond the schema; plans computed attributes as unknown; applies to `aws_url`."""

    def __init__(self, schema: dict[str, Any], aws_url: str | None) -> None:
        self._schema, self._aws_url = schema, aws_url

    def GetSchema(self, request: Any, context: Any) -> Any:
        described = {
            kind: {name: messages.Schema(version=0, block=block_message(block)) for name, block in blocks.items()}
            for kind, blocks in self._schema.items()
        }
        return messages.GetProviderSchema.Response(
            provider=described["provider"]["aws"],
            resource_schemas=described["resource"],
            data_source_schemas=described["data"],
        )

    def PrepareProviderConfig(self, request: Any, context: Any) -> Any:
        return messages.PrepareProviderConfig.Response(prepared_config=request.config)

    def ValidateResourceTypeConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateResourceTypeConfig.Response()

    def ValidateDataSourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateDataSourceConfig.Response()

    def Configure(self, request: Any, context: Any) -> Any:
        return messages.Configure.Response()

    def Stop(self, request: Any, context: Any) -> Any:
        return messages.Stop.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        state = messages.DynamicValue(json=request.raw_state.json)
        return messages.UpgradeResourceState.Response(upgraded_state=state)

    def ReadResource(self, request: Any, context: Any) -> Any:
        return messages.ReadResource.Response(new_state=request.current_state)

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        values = unpacked(request.config) | read(request.type_name, self._aws_url)
        return messages.ReadDataSource.Response(state=packed(values))

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        planned, prior = unpacked(request.proposed_new_state), unpacked(request.prior_state)
        if planned is not None and prior is None:
            for name, attribute in self._schema["resource"][request.type_name]["attributes"].items():
                if is_computed(name, attribute) and not attribute["required"] and planned.get(name) is None:
                    planned[name] = UNKNOWN
        return messages.PlanResourceChange.Response(planned_state=packed(planned), legacy_type_system=True)

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        planned = unpacked(request.planned_state)
        if planned is None:  # destroyed: moto ends with the test
            return messages.ApplyResourceChange.Response(new_state=packed(None), legacy_type_system=True)
        known = {name: value for name, value in planned.items() if value is not None and value != UNKNOWN}
        try:
            computed = create(request.type_name, known, self._aws_url)
        except Exception as error:
            said = messages.Diagnostic(severity=messages.Diagnostic.ERROR, summary=f"{type(error).__name__}: {error}")
            return messages.ApplyResourceChange.Response(diagnostics=[said])
        values = {name: None if value == UNKNOWN else value for name, value in planned.items()} | computed
        return messages.ApplyResourceChange.Response(new_state=packed(values), legacy_type_system=True)


def block_message(block: Values) -> Any:
    """Return a block of the schema as the protocol has it."""
    message = messages.Schema.Block()
    for name, attribute in block["attributes"].items():
        required, computed = attribute["required"], is_computed(name, attribute)
        message.attributes.add(
            name=name,
            type=json.dumps(attribute["type"]).encode(),
            required=required,
            optional=not required and not attribute.get("computed_only"),
            computed=computed and not required,
        )
    for name, nested in block["blocks"].items():
        nesting = nested["nesting"]
        added = message.block_types.add(
            type_name=name,
            nesting=getattr(messages.Schema.NestedBlock, nesting),
            min_items=nested["min"] if nesting in ("LIST", "SET") else 0,
            max_items=nested["max"],
        )
        added.block.CopyFrom(block_message(nested["block"]))
    return message


def is_computed(name: str, attribute: Values) -> bool:
    return name == "id" or "computed_only" in attribute


def unpacked(value: Any) -> Any:
    return msgpack.unpackb(value.msgpack, strict_map_key=False, ext_hook=msgpack.ExtType)


def packed(values: Any) -> Any:
    return messages.DynamicValue(msgpack=msgpack.packb(values))


@contextmanager
def serving(aws_url: str | None = None) -> Iterator[dict[str, str]]:
    """Serve the provider on a port of its own; yield the environment for `terraform`."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    services.add_ProviderServicer_to_server(AwsProvider(json.loads(SCHEMA.read_text()), aws_url), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    attached = {
        ADDRESS: {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    }
    try:
        yield {
            "TF_REATTACH_PROVIDERS": json.dumps(attached),
            "TF_CLI_CONFIG_FILE": os.devnull,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
    finally:
        server.stop(grace=None).wait()
