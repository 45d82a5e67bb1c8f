resource "aws_ecs_cluster" "this" {
  name = local.name
  setting {
    name  = "containerInsights"
    value = "enabled" # the alarm "worker down" reads its RunningTaskCount
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:log_retention_days decides; what must be kept for years is in Postgres
  for_each          = toset(["flows", "worker"])
  name              = "/${local.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

locals {
  auth_secret = var.prefect_auth_string_key == null ? [] : [{
    name      = "PREFECT_API_AUTH_STRING"
    valueFrom = "${aws_secretsmanager_secret.app.arn}:${var.prefect_auth_string_key}::"
  }]
  worker_environment = {
    AWS_DEFAULT_REGION                                     = var.region
    DO_NOT_TRACK                                           = "1"
    PREFECT_API_URL                                        = var.prefect_api_url
    PREFECT_SERVER_ANALYTICS_ENABLED                       = "false"
    PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME   = aws_sqs_queue.task_events.name
    PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_REGION = var.region
  }
}

# The worker starts a task per flow run. Task definitions of the flows are registered by it, from the work pool's template.
resource "aws_ecs_task_definition" "worker" {
  family                   = "${local.name}-worker"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.worker_cpu
  memory                   = var.worker_memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.worker.arn
  runtime_platform {
    cpu_architecture        = var.cpu_architecture
    operating_system_family = "LINUX"
  }
  container_definitions = jsonencode([{
    name              = "worker"
    image             = var.image
    essential         = true
    command           = ["prefect", "worker", "start", "--pool", var.work_pool, "--type", "ecs", "--install-policy", "never", "--with-healthcheck"]
    environment       = [for name, value in local.worker_environment : { name = name, value = value }]
    secrets           = local.auth_secret
    stopTimeout       = 120
    memoryReservation = var.worker_memory / 2
    healthCheck = {
      command     = ["CMD", "python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
      interval    = 30
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this["worker"].name
        awslogs-region        = var.region
        awslogs-stream-prefix = "worker"
      }
    }
  }])
}

resource "aws_ecs_service" "worker" {
  name                               = "${local.name}-worker"
  cluster                            = aws_ecs_cluster.this.arn
  task_definition                    = aws_ecs_task_definition.worker.arn
  desired_count                      = var.worker_count
  launch_type                        = "FARGATE"
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  enable_execute_command             = false
  propagate_tags                     = "SERVICE"
  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.tasks.id]
    assign_public_ip = var.assign_public_ip
  }
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  # a worker that starts before it has its rights would trip the circuit breaker
  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy.worker, aws_vpc_security_group_egress_rule.tasks]
}
