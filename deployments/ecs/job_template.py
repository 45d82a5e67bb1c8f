"""The base job template of the ECS work pool: prefect-aws's own, filled with what Terraform made.

What every container has (secrets, limits, logs, network) stands in the template and not in deployments, so that a
deployment is the same on either pool.
"""

from __future__ import annotations

from typing import Any

from prefect_aws.workers.ecs_worker import ECSWorker

from deployments.ecs.outputs import Outputs

CONTAINER = "prefect"  # the name by which the observer tells ours from a sidecar that AWS adds
STOP_TIMEOUT_SECONDS = 120  # the most that Fargate gives a container between SIGTERM and SIGKILL
MEMORY_RESERVATION = 256  # MiB; below every size of a task, also of one that a run asks for
LOG_PREFIX = "flow"  # one for all deployments: prefect-aws would else register a task definition for each

# What a container is told in clear. Everything secret is read from Secrets Manager when it starts.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "MALLOC_ARENA_MAX": "2",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/visibility-results",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; without heartbeats nobody notices a process that vanishes
    # Spot, and Fargate's own maintenance, tell a container two minutes before: its run goes on in another one
    "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PYTHONUNBUFFERED": "1",
    "SLACK_WEBHOOK_BLOCK": "visibility-alerts",  # bootstrap saves it; without it alerts are in the log only
}
# ECS shows it beside the task; a container that cannot start a process within 5 s has run out of memory or of CPU
HEALTH_CHECK = {"command": ["CMD-SHELL", "kill -0 1"], "interval": 60, "timeout": 5, "retries": 3, "startPeriod": 60}


def base_job_template(outputs: Outputs) -> dict[str, Any]:
    """Return the template for `POST /work_pools`; the same outputs give the same template."""
    template: dict[str, Any] = ECSWorker.get_default_base_job_template()
    configuration = template["job_configuration"]
    configuration["task_definition"] = _task_definition(outputs, configuration["task_definition"])
    properties = template["variables"]["properties"]
    for name, value in _defaults(outputs).items():
        properties[name]["default"] = value
    return template


def _task_definition(outputs: Outputs, default: dict[str, Any]) -> dict[str, Any]:
    container = default["containerDefinitions"][0] | {
        "essential": True,
        "environment": [{"name": name, "value": value} for name, value in sorted(environment(outputs).items())],
        "secrets": [{"name": key, "valueFrom": _secret(outputs, key)} for key in outputs.secret_keys],
        "stopTimeout": STOP_TIMEOUT_SECONDS,
        "healthCheck": HEALTH_CHECK,
        "memoryReservation": MEMORY_RESERVATION,
        "readonlyRootFilesystem": False,  # Prefect keeps its home in /tmp
        "linuxParameters": {"initProcessEnabled": False},  # PID 1 is Prefect, which acts on SIGTERM
    }
    return default | {
        "containerDefinitions": [container],
        "runtimePlatform": {"cpuArchitecture": outputs.cpu_architecture, "operatingSystemFamily": "LINUX"},
        "taskRoleArn": "{{ task_role_arn }}",
        "networkMode": "awsvpc",
        "enableFaultInjection": False,  # ECS says it of every definition: without it each run would register a new one
        "requiresCompatibilities": ["FARGATE"],
    }


def environment(outputs: Outputs) -> dict[str, str]:
    """Return what a flow's container is told in clear."""
    known = {"PREFECT_API_URL": outputs.prefect_api_url, "AWS_DEFAULT_REGION": outputs.region}
    return ENVIRONMENT | known | outputs.flow_environment


def _defaults(outputs: Outputs) -> dict[str, Any]:
    """Return the defaults of the job variables; a deployment may override cpu, memory, image and launch type."""
    network = {
        "subnets": outputs.subnet_ids,
        "securityGroups": [outputs.security_group_id],
        "assignPublicIp": "ENABLED" if outputs.assign_public_ip else "DISABLED",
    }
    auth = outputs.prefect_auth_string_key
    return {
        "cluster": outputs.cluster_arn,
        "family": outputs.flow_family,
        "container_name": CONTAINER,
        "image": outputs.image,
        "cpu": outputs.cpu,
        "memory": outputs.memory,
        "launch_type": outputs.launch_type,
        "execution_role_arn": outputs.execution_role_arn,
        "task_role_arn": outputs.flow_role_arn,
        "vpc_id": outputs.vpc_id,
        "network_configuration": network,  # without both of them a task gets every subnet and a public address
        "configure_cloudwatch_logs": True,
        "cloudwatch_logs_options": {"awslogs-group": outputs.flow_log_group, "awslogs-create-group": "false"},
        "cloudwatch_logs_prefix": LOG_PREFIX,
        "match_latest_revision_in_family": True,
        # without it the worker would copy its own credentials in clear into every task's overrides
        **({"prefect_api_auth_string_secret_arn": _secret(outputs, auth)} if auth else {}),
    }


def _secret(outputs: Outputs, key: str) -> str:
    return f"{outputs.secret_arn}:{key}::"
