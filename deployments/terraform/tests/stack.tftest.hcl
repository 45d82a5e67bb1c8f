# What must hold of every installation, on a provider that only pretends. `terraform test` runs it without an account.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:us-east-1:123456789012:cluster/senso" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:senso/app-AbCdEf" }
  }
  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:us-east-1:123456789012:rule/senso-task-state" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:senso-alerts" }
  }
}

variables {
  vpc_id          = "vpc-0123456789abcdef0"
  subnet_ids      = ["subnet-0123456789abcdef0"]
  prefect_api_url = "https://prefect.example.com/api"
  image           = "example.com/senso:0.1.0"
  alert_emails    = ["operations@example.com"]
}

run "the_worker_is_private_and_hears_of_tasks" {
  command = apply

  assert {
    condition     = aws_ecs_service.worker.network_configuration[0].assign_public_ip == false
    error_message = "The worker must have no public address."
  }
  assert {
    condition     = aws_ecs_service.worker.deployment_circuit_breaker[0].rollback
    error_message = "A worker that does not start must be rolled back."
  }
  assert {
    condition = alltrue([
      for variable in jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].environment :
      variable.value == aws_sqs_queue.task_events.name
      if variable.name == "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME"
    ])
    error_message = "The worker must read the queue of task events."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.task_state.event_pattern).detail.clusterArn == [aws_ecs_cluster.this.arn]
    error_message = "Only tasks of this cluster concern the worker."
  }
  assert {
    condition     = aws_cloudwatch_event_target.task_state.arn == aws_sqs_queue.task_events.arn
    error_message = "Events of tasks must reach the queue."
  }
}

run "nothing_secret_is_in_clear" {
  command = apply

  assert {
    condition = jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].secrets == [{
      name      = "PREFECT_API_AUTH_STRING"
      valueFrom = "${aws_secretsmanager_secret.app.arn}:PREFECT_API_AUTH_STRING::"
    }]
    error_message = "The worker gets the auth string from the secret."
  }
  assert {
    condition = alltrue([
      for variable in jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].environment :
      !can(regex("KEY|SECRET|PASSWORD|AUTH_STRING|DATABASE_URL", variable.name))
    ])
    error_message = "No secret may stand in a task definition's environment."
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.results.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    error_message = "The bucket must refuse requests without TLS."
  }
  assert {
    condition     = aws_s3_bucket_public_access_block.results.block_public_policy && aws_s3_bucket_public_access_block.results.restrict_public_buckets
    error_message = "The bucket must not be public."
  }
}

run "roles_may_do_what_they_need_and_nothing_else" {
  command = apply

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.worker.policy).Statement :
      statement.Resource != "*" || statement.Sid == "RegisterTaskDefinitions"
    ])
    error_message = "Only calls without resources may name all."
  }
  assert {
    condition = alltrue([
      for policy in [aws_iam_role_policy.worker.policy, aws_iam_role_policy.flow.policy, aws_iam_role_policy.execution.policy] :
      alltrue([for action in flatten([for statement in jsondecode(policy).Statement : flatten([statement.Action])]) : !strcontains(action, "*")])
    ])
    error_message = "No role may have a wildcard for actions."
  }
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.worker.policy).Statement :
      statement.Condition.StringEquals["iam:PassedToService"] == "ecs-tasks.amazonaws.com" && length(statement.Resource) == 2
      if statement.Sid == "GiveTasksTheirRoles"
    ])
    error_message = "Roles may be passed to tasks only, and only these two."
  }
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.flow.policy).Statement :
      !contains(flatten([statement.Action]), "ecs:RunTask") && !contains(flatten([statement.Action]), "s3:DeleteObject")
    ])
    error_message = "A flow neither starts containers nor deletes reports."
  }
}

run "nobody_can_reach_a_task" {
  command = apply

  assert {
    condition     = keys(aws_vpc_security_group_egress_rule.tasks) == ["https", "postgres 10.0.0.0/8"]
    error_message = "Tasks reach HTTPS and Postgres, nothing else."
  }
}

run "a_server_on_another_port_is_reachable" {
  command = apply
  variables {
    prefect_api_url = "http://10.1.2.3:4200/api"
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.tasks["prefect 10.0.0.0/8"].from_port == 4200
    error_message = "The port of the Prefect server must be open."
  }
}

run "alarms_tell_people" {
  command = apply

  assert {
    condition     = join(" ", keys(aws_cloudwatch_metric_alarm.this)) == "events-undeliverable events-unread flow-alerts worker-down"
    error_message = "There are four alarms."
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == toset([aws_sns_topic.alerts.arn])])
    error_message = "Each alarm goes to the topic."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["worker-down"].treat_missing_data == "breaching"
    error_message = "A worker of which nothing is heard is down."
  }
  assert {
    condition     = aws_sns_topic_subscription.alerts["operations@example.com"].protocol == "email"
    error_message = "People are subscribed."
  }
}

run "a_second_environment_has_names_of_its_own" {
  command = plan
  variables {
    environment = "staging"
  }
  assert {
    condition     = aws_ecs_cluster.this.name == "senso-staging" && aws_secretsmanager_secret.app.name == "senso-staging/app"
    error_message = "Names must not collide."
  }
}

run "no_database_unless_asked" {
  command = plan
  assert {
    condition     = length(aws_db_instance.this) == 0 && output.database_address == null
    error_message = "RDS is optional."
  }
}

run "a_database_is_private_encrypted_and_backed_up" {
  command = apply
  variables {
    create_database = true
  }
  override_resource {
    target = aws_db_instance.this
    values = {
      address            = "senso.example.us-east-1.rds.amazonaws.com"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds-1" }]
    }
  }
  assert {
    condition = (
      aws_db_instance.this[0].storage_encrypted && !aws_db_instance.this[0].publicly_accessible
      && aws_db_instance.this[0].deletion_protection && aws_db_instance.this[0].backup_retention_period == 14
      && aws_db_instance.this[0].manage_master_user_password
    )
    error_message = "The database must be private, encrypted, protected and backed up; its password is RDS's own."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.database[0].referenced_security_group_id == aws_security_group.tasks.id
    error_message = "Only tasks may reach the database."
  }
}
