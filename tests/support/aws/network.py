"""What every AWS account has, in moto."""

from __future__ import annotations

from typing import Any

import httpx


def forget_everything(moto_url: str) -> None:
    """Empty the account: moto's state outlives its server in a process."""
    httpx.post(f"{moto_url}/moto-api/reset").raise_for_status()


def default_network(ec2: Any) -> tuple[str, list[str]]:
    """Return the default VPC and two of its subnets."""
    [vpc] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
    return vpc["VpcId"], sorted(subnet["SubnetId"] for subnet in found)[:2]
