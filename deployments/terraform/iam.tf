# Three roles: who starts containers (execution), what a flow may do (flow), what the worker may do (worker).

locals {
  partition  = startswith(var.region, "cn-") ? "aws-cn" : startswith(var.region, "us-gov-") ? "aws-us-gov" : "aws"
  arn        = "arn:${local.partition}"
  in_region  = "${var.region}:${local.account_id}"
  flow_tasks = "${local.arn}:ecs:${local.in_region}:task-definition/${local.name}-flow:*"
  trust = {
    Effect    = "Allow"
    Action    = "sts:AssumeRole"
    Principal = { Service = "ecs-tasks.amazonaws.com" }
  }
  trust_ecs_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [merge(local.trust, {
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnLike      = { "aws:SourceArn" = "${local.arn}:ecs:${local.in_region}:*" }
      }
    })]
  })
  # Where the image is in ECR; another registry needs no rights here
  repositories = [
    for found in regexall("^([0-9]{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/([^:@]+)", var.image) :
    "${local.arn}:ecr:${found[1]}:${found[0]}:repository/${found[2]}"
  ]
  pull_image = flatten([for repository in local.repositories : [
    {
      Sid      = "RegistryToken" # has no resource to name
      Effect   = "Allow"
      Action   = ["ecr:GetAuthorizationToken"]
      Resource = "*"
    },
    {
      Sid      = "PullImage"
      Effect   = "Allow"
      Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = repository
    },
  ]])
  use_key = var.kms_key_arn == null ? [] : [{
    Sid      = "UseKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = var.kms_key_arn
  }]
}

# ECS itself: pull the image, write logs, read the secret into the environment
resource "aws_iam_role" "execution" {
  name = "${local.name}-execution"
  # AWS documents the conditions above for roles of tasks only, and without this role nothing starts
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [local.trust] })
}

resource "aws_iam_role_policy" "execution" {
  name = "start-containers"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [for group in aws_cloudwatch_log_group.this : "${group.arn}:*"]
      },
      {
        Sid      = "ReadSecret"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.app.arn
      },
    ], local.pull_image, local.use_key)
  })
}

# A flow: its results and reports, and the secret where a block reads it
resource "aws_iam_role" "flow" {
  name               = "${local.name}-flow"
  assume_role_policy = local.trust_ecs_tasks
}

resource "aws_iam_role_policy" "flow" {
  name = "results-and-secret"
  role = aws_iam_role.flow.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "ListResults"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.results.arn
      },
      {
        Sid      = "ReadAndWriteResults"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = "${aws_s3_bucket.results.arn}/*"
      },
      {
        Sid      = "ReadSecret"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.app.arn
      },
    ], local.use_key)
  })
}

# The worker: starts tasks of one family in one cluster and hears how they end
resource "aws_iam_role" "worker" {
  name               = "${local.name}-worker"
  assume_role_policy = local.trust_ecs_tasks
}

resource "aws_iam_role_policy" "worker" {
  name = "start-flow-runs"
  role = aws_iam_role.worker.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "RegisterTaskDefinitions" # ECS and EC2 know no resources for these
        Effect   = "Allow"
        Action   = ["ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ec2:DescribeVpcs", "ec2:DescribeSubnets"]
        Resource = "*"
      },
      {
        Sid       = "RunTasks"
        Effect    = "Allow"
        Action    = "ecs:RunTask"
        Resource  = local.flow_tasks
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
      },
      {
        Sid       = "WatchAndStopTasks"
        Effect    = "Allow"
        Action    = ["ecs:DescribeTasks", "ecs:StopTask"]
        Resource  = "${local.arn}:ecs:${local.in_region}:task/${aws_ecs_cluster.this.name}/*"
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
      },
      {
        Sid    = "TagWhatItCreates"
        Effect = "Allow"
        Action = "ecs:TagResource"
        Resource = [
          "${local.arn}:ecs:${local.in_region}:task/${aws_ecs_cluster.this.name}/*",
          local.flow_tasks,
        ]
        Condition = { StringEquals = { "ecs:CreateAction" = ["RunTask", "RegisterTaskDefinition"] } }
      },
      {
        Sid       = "GiveTasksTheirRoles"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = [aws_iam_role.execution.arn, aws_iam_role.flow.arn]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
      {
        Sid      = "HearOfTasks"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
        Resource = aws_sqs_queue.task_events.arn
      },
      {
        Sid      = "ReadLogsOfCrashedTasks"
        Effect   = "Allow"
        Action   = "logs:GetLogEvents"
        Resource = "${aws_cloudwatch_log_group.this["flows"].arn}:*"
      },
    ], local.use_key)
  })
}
