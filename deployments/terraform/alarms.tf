# The alias aws/sns would be encryption that CloudWatch cannot publish through: a key of your own, or none.
resource "aws_sns_topic" "alerts" {
  #checkov:skip=CKV_AWS_26:alarms hold no data of customers; with kms_key_arn the topic is encrypted
  name              = "${local.name}-alerts"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AlarmsAndBudgets"
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alerts.arn
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_sns_topic_subscription" "alerts" {
  for_each  = toset(var.alert_emails)
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

# Every alert of a flow is also a line with ALERT in its log. Of a run whose container died before it could write one,
# or never started, the worker writes that it marks it as crashed.
locals {
  alert_lines = {
    flows  = "ALERT "
    worker = "as crashed"
  }
  alerts_metric = { namespace = "${local.name}/flows", name = "FlowAlerts" }
}

resource "aws_cloudwatch_log_metric_filter" "alerts" {
  for_each       = local.alert_lines
  name           = "${local.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.this[each.key].name
  pattern        = "\"${each.value}\""
  metric_transformation {
    namespace     = local.alerts_metric.namespace
    name          = local.alerts_metric.name
    value         = "1"
    default_value = "0"
  }
}

locals {
  alarms = {
    flow-alerts = {
      description = "A flow has alerted, or its container died: read its log, or Slack. Runbooks: docs/runbooks."
      namespace   = local.alerts_metric.namespace
      metric      = local.alerts_metric.name
      dimensions  = {}
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      statistic   = "Sum"
      periods     = 1
      missing     = "notBreaching"
    }
    worker-down = {
      description = "No worker runs: nothing new starts. Runbook: docs/runbooks/worker-down.md."
      namespace   = "ECS/ContainerInsights"
      metric      = "RunningTaskCount"
      dimensions  = { ClusterName = aws_ecs_cluster.this.name, ServiceName = aws_ecs_service.worker.name }
      comparison  = "LessThanThreshold"
      threshold   = 1
      statistic   = "Minimum"
      periods     = 5
      missing     = "breaching"
    }
    events-unread = {
      description = "The worker does not read how its tasks end: runs of killed tasks stay Running."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = aws_sqs_queue.task_events.name }
      comparison  = "GreaterThanThreshold"
      threshold   = 600 # seconds
      statistic   = "Maximum"
      periods     = 3
      missing     = "notBreaching"
    }
    events-undeliverable = {
      description = "The worker could not handle an event of a task five times."
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.task_events_dlq.name }
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      statistic   = "Maximum"
      periods     = 1
      missing     = "notBreaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alerts.arn]
  ok_actions          = [aws_sns_topic.alerts.arn]
}

resource "aws_budgets_budget" "this" {
  name         = local.name
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Project$%s", local.name)]
  }
  dynamic "notification" {
    for_each = { FORECASTED = 100, ACTUAL = 80 } # per cent; AWS forecasts nothing in the first weeks
    content {
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      notification_type         = notification.key
      subscriber_sns_topic_arns = [aws_sns_topic.alerts.arn]
    }
  }
  depends_on = [aws_sns_topic_policy.alerts] # AWS tries whether it may publish
}
