# How the worker hears that a task has ended. Without this queue the run of a killed task stays Running.
resource "aws_sqs_queue" "task_events_dlq" {
  name                      = "${local.name}-task-events-dlq"
  message_retention_seconds = 1209600 # 14 days
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.arn}:sqs:${local.in_region}:${local.name}-task-events"]
  })
  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn
}

resource "aws_sqs_queue" "task_events" {
  name                       = "${local.name}-task-events"
  message_retention_seconds  = 345600 # 4 days: longer than a worker is ever away
  visibility_timeout_seconds = 300
  sqs_managed_sse_enabled    = var.kms_key_arn == null ? true : null
  kms_master_key_id          = var.kms_key_arn
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.task_events_dlq.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_policy" "task_events" {
  queue_url = aws_sqs_queue.task_events.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EventBridge"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.task_events.arn
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.task_state.arn } }
    }]
  })
}

resource "aws_cloudwatch_event_rule" "task_state" {
  name        = "${local.name}-task-state"
  description = "Tasks of the cluster that change their state, for the worker"
  event_pattern = jsonencode({
    source        = ["aws.ecs"]
    "detail-type" = ["ECS Task State Change"]
    detail        = { clusterArn = [aws_ecs_cluster.this.arn] }
  })
}

resource "aws_cloudwatch_event_target" "task_state" {
  rule      = aws_cloudwatch_event_rule.task_state.name
  target_id = "worker-queue"
  arn       = aws_sqs_queue.task_events.arn
}
