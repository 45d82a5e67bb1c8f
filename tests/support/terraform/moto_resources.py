"""Creates the resources of our Terraform module in moto, and returns what AWS would have computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3

Values = dict[str, Any]
Create = Callable[[Values, Callable[[str], Any]], Values]

CREATE: dict[str, Create] = {}


def create(kind: str, values: Values, aws_url: str | None) -> Values:
    """Create one resource from its known attributes; return its computed ones. Raises KeyError for an unknown kind."""
    return CREATE[kind](values, _clients(aws_url, str(values.get("region") or "us-east-1")))


def read(kind: str, aws_url: str | None) -> Values:
    """Return the computed attributes of a data source."""
    assert kind == "aws_caller_identity", kind
    identity = _clients(aws_url, "us-east-1")("sts").get_caller_identity()
    return {
        "id": identity["Account"],
        "account_id": identity["Account"],
        "arn": identity["Arn"],
        "user_id": "terraform",
    }


def _clients(aws_url: str | None, region: str) -> Callable[[str], Any]:
    assert aws_url is not None, "apply needs the address of moto"
    keys = {"aws_access_key_id": "terraform", "aws_secret_access_key": "test"}
    return lambda service: boto3.client(service, endpoint_url=aws_url, region_name=region, **keys)


def _of(kind: str) -> Callable[[Create], Create]:
    def register(function: Create) -> Create:
        CREATE[kind] = function
        return function

    return register


@_of("aws_ecs_cluster")
def _cluster(values: Values, client: Callable[[str], Any]) -> Values:
    settings = [{"name": one["name"], "value": one["value"]} for one in values.get("setting", [])]
    arn = client("ecs").create_cluster(clusterName=values["name"], settings=settings)["cluster"]["clusterArn"]
    return {"id": arn, "arn": arn}


@_of("aws_ecs_cluster_capacity_providers")
def _capacity_providers(values: Values, client: Callable[[str], Any]) -> Values:
    client("ecs").put_cluster_capacity_providers(
        cluster=values["cluster_name"],
        capacityProviders=values["capacity_providers"],
        defaultCapacityProviderStrategy=[],
    )
    return {"id": values["cluster_name"]}


@_of("aws_ecs_task_definition")
def _task_definition(values: Values, client: Callable[[str], Any]) -> Values:
    registered = client("ecs").register_task_definition(
        family=values["family"],
        cpu=str(values["cpu"]),
        memory=str(values["memory"]),
        networkMode=values["network_mode"],
        requiresCompatibilities=values["requires_compatibilities"],
        executionRoleArn=values["execution_role_arn"],
        taskRoleArn=values["task_role_arn"],
        containerDefinitions=json.loads(values["container_definitions"]),
    )["taskDefinition"]
    return {"id": values["family"], "arn": registered["taskDefinitionArn"], "revision": registered["revision"]}


@_of("aws_ecs_service")
def _service(values: Values, client: Callable[[str], Any]) -> Values:
    network = values["network_configuration"][0]
    arn = client("ecs").create_service(
        cluster=values["cluster"],
        serviceName=values["name"],
        taskDefinition=values["task_definition"],
        desiredCount=0,  # the test starts the worker: moto would only pretend to
        launchType=values["launch_type"],
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": network["subnets"],
                "securityGroups": network["security_groups"],
                "assignPublicIp": "ENABLED" if network["assign_public_ip"] else "DISABLED",
            }
        },
    )["service"]["serviceArn"]
    return {"id": arn, "arn": arn}


@_of("aws_cloudwatch_log_group")
def _log_group(values: Values, client: Callable[[str], Any]) -> Values:
    logs = client("logs")
    logs.create_log_group(logGroupName=values["name"])
    logs.put_retention_policy(logGroupName=values["name"], retentionInDays=int(values["retention_in_days"]))
    [group] = logs.describe_log_groups(logGroupNamePrefix=values["name"])["logGroups"]
    return {"id": values["name"], "arn": group["arn"].removesuffix(":*")}


@_of("aws_cloudwatch_log_metric_filter")
def _metric_filter(values: Values, client: Callable[[str], Any]) -> Values:
    [transformation] = values["metric_transformation"]
    client("logs").put_metric_filter(
        logGroupName=values["log_group_name"],
        filterName=values["name"],
        filterPattern=values["pattern"],
        metricTransformations=[
            {
                "metricName": transformation["name"],
                "metricNamespace": transformation["namespace"],
                "metricValue": transformation["value"],
            }
        ],
    )
    return {"id": values["name"]}


@_of("aws_cloudwatch_metric_alarm")
def _alarm(values: Values, client: Callable[[str], Any]) -> Values:
    watch = client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName=values["alarm_name"],
        AlarmDescription=values["alarm_description"],
        Namespace=values["namespace"],
        MetricName=values["metric_name"],
        Dimensions=[{"Name": name, "Value": value} for name, value in values.get("dimensions", {}).items()],
        ComparisonOperator=values["comparison_operator"],
        Threshold=float(values["threshold"]),
        Statistic=values["statistic"],
        Period=int(values["period"]),
        EvaluationPeriods=int(values["evaluation_periods"]),
        TreatMissingData=values["treat_missing_data"],
        AlarmActions=values["alarm_actions"],
    )
    [alarm] = watch.describe_alarms(AlarmNames=[values["alarm_name"]])["MetricAlarms"]
    return {"id": values["alarm_name"], "arn": alarm["AlarmArn"]}


@_of("aws_cloudwatch_event_rule")
def _rule(values: Values, client: Callable[[str], Any]) -> Values:
    put = client("events").put_rule(Name=values["name"], EventPattern=values["event_pattern"])
    return {"id": values["name"], "arn": put["RuleArn"]}


@_of("aws_cloudwatch_event_target")
def _target(values: Values, client: Callable[[str], Any]) -> Values:
    client("events").put_targets(Rule=values["rule"], Targets=[{"Id": values["target_id"], "Arn": values["arn"]}])
    return {"id": f"{values['rule']}-{values['target_id']}"}


@_of("aws_sqs_queue")
def _queue(values: Values, client: Callable[[str], Any]) -> Values:
    sqs = client("sqs")
    named = {"RedrivePolicy": "redrive_policy", "RedriveAllowPolicy": "redrive_allow_policy"}
    policies = {name: values[ours] for name, ours in named.items() if values.get(ours)}
    url = sqs.create_queue(QueueName=values["name"], Attributes=policies)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return {"id": url, "url": url, "arn": arn}


@_of("aws_sqs_queue_policy")
def _queue_policy(values: Values, client: Callable[[str], Any]) -> Values:
    client("sqs").set_queue_attributes(QueueUrl=values["queue_url"], Attributes={"Policy": values["policy"]})
    return {"id": values["queue_url"]}


@_of("aws_sns_topic")
def _topic(values: Values, client: Callable[[str], Any]) -> Values:
    arn = client("sns").create_topic(Name=values["name"])["TopicArn"]
    return {"id": arn, "arn": arn}


@_of("aws_sns_topic_policy")
def _topic_policy(values: Values, client: Callable[[str], Any]) -> Values:
    client("sns").set_topic_attributes(TopicArn=values["arn"], AttributeName="Policy", AttributeValue=values["policy"])
    return {"id": values["arn"]}


@_of("aws_sns_topic_subscription")
def _subscription(values: Values, client: Callable[[str], Any]) -> Values:
    arn = client("sns").subscribe(
        TopicArn=values["topic_arn"], Protocol=values["protocol"], Endpoint=values["endpoint"]
    )["SubscriptionArn"]
    return {"id": arn, "arn": arn}


@_of("aws_secretsmanager_secret")
def _secret(values: Values, client: Callable[[str], Any]) -> Values:
    arn = client("secretsmanager").create_secret(Name=values["name"])["ARN"]
    return {"id": arn, "arn": arn}


@_of("aws_iam_role")
def _role(values: Values, client: Callable[[str], Any]) -> Values:
    created = client("iam").create_role(RoleName=values["name"], AssumeRolePolicyDocument=values["assume_role_policy"])[
        "Role"
    ]
    return {"id": values["name"], "arn": created["Arn"]}


@_of("aws_iam_role_policy")
def _role_policy(values: Values, client: Callable[[str], Any]) -> Values:
    client("iam").put_role_policy(RoleName=values["role"], PolicyName=values["name"], PolicyDocument=values["policy"])
    return {"id": f"{values['role']}:{values['name']}"}


@_of("aws_security_group")
def _security_group(values: Values, client: Callable[[str], Any]) -> Values:
    made = client("ec2").create_security_group(
        GroupName=values["name"], Description=values["description"], VpcId=values["vpc_id"]
    )
    return {"id": made["GroupId"], "arn": f"arn:aws:ec2:us-east-1:123456789012:security-group/{made['GroupId']}"}


@_of("aws_vpc_security_group_egress_rule")
def _egress(values: Values, client: Callable[[str], Any]) -> Values:
    permission = {
        "IpProtocol": values["ip_protocol"],
        "FromPort": int(values["from_port"]),
        "ToPort": int(values["to_port"]),
        "IpRanges": [{"CidrIp": values["cidr_ipv4"]}],
    }
    made = client("ec2").authorize_security_group_egress(
        GroupId=values["security_group_id"], IpPermissions=[permission]
    )
    rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    return {"id": rule, "security_group_rule_id": rule}


@_of("aws_s3_bucket")
def _bucket(values: Values, client: Callable[[str], Any]) -> Values:
    client("s3").create_bucket(Bucket=values["bucket"])
    return {"id": values["bucket"], "arn": f"arn:aws:s3:::{values['bucket']}"}


@_of("aws_s3_bucket_policy")
def _bucket_policy(values: Values, client: Callable[[str], Any]) -> Values:
    client("s3").put_bucket_policy(Bucket=values["bucket"], Policy=values["policy"])
    return {"id": values["bucket"]}


@_of("aws_s3_bucket_versioning")
def _versioning(values: Values, client: Callable[[str], Any]) -> Values:
    [wanted] = values["versioning_configuration"]
    client("s3").put_bucket_versioning(Bucket=values["bucket"], VersioningConfiguration={"Status": wanted["status"]})
    return {"id": values["bucket"]}


@_of("aws_s3_bucket_public_access_block")
def _public_access(values: Values, client: Callable[[str], Any]) -> Values:
    client("s3").put_public_access_block(
        Bucket=values["bucket"],
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": values["block_public_acls"],
            "IgnorePublicAcls": values["ignore_public_acls"],
            "BlockPublicPolicy": values["block_public_policy"],
            "RestrictPublicBuckets": values["restrict_public_buckets"],
        },
    )
    return {"id": values["bucket"]}


@_of("aws_s3_bucket_server_side_encryption_configuration")
def _encryption(values: Values, client: Callable[[str], Any]) -> Values:
    [default] = values["rule"][0]["apply_server_side_encryption_by_default"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": default["sse_algorithm"]}}
    client("s3").put_bucket_encryption(Bucket=values["bucket"], ServerSideEncryptionConfiguration={"Rules": [rule]})
    return {"id": values["bucket"]}


@_of("aws_s3_bucket_lifecycle_configuration")
def _lifecycle(values: Values, client: Callable[[str], Any]) -> Values:
    rules = [
        {
            "ID": rule["id"],
            "Status": rule["status"],
            "Filter": {"Prefix": rule["filter"][0]["prefix"]},
            **({"Expiration": {"Days": int(rule["expiration"][0]["days"])}} if rule["expiration"] else {}),
        }
        for rule in values["rule"]
    ]
    client("s3").put_bucket_lifecycle_configuration(
        Bucket=values["bucket"], LifecycleConfiguration={"Rules": [rule for rule in rules if "Expiration" in rule]}
    )
    return {"id": values["bucket"]}


@_of("aws_ecr_repository")
def _repository(values: Values, client: Callable[[str], Any]) -> Values:
    made = client("ecr").create_repository(repositoryName=values["name"])["repository"]
    return {"id": values["name"], "arn": made["repositoryArn"], "repository_url": made["repositoryUri"]}


@_of("aws_budgets_budget")
def _budget(values: Values, client: Callable[[str], Any]) -> Values:
    client("budgets").create_budget(
        AccountId="123456789012",
        Budget={
            "BudgetName": values["name"],
            "BudgetType": values["budget_type"],
            "TimeUnit": values["time_unit"],
            "BudgetLimit": {"Amount": values["limit_amount"], "Unit": values["limit_unit"]},
        },
    )
    return {"id": f"123456789012:{values['name']}"}
