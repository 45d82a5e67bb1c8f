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
    condition = (
      contains(jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].command, "--with-healthcheck")
      && strcontains(jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].healthCheck.command[3], ":8080/health")
      && jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].stopTimeout == 120
      && aws_ecs_task_definition.worker.runtime_platform[0].cpu_architecture == "ARM64"
    )
    error_message = "The worker must say whether it is well, have time to stop, and run on ARM."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.this : group.retention_in_days == 90])
    error_message = "Logs must not be kept for ever."
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

run "the_budget_counts_what_is_tagged" {
  command = plan

  assert {
    condition     = one(aws_budgets_budget.this.cost_filter).values == tolist(["user:Project$senso"])
    error_message = "The budget must be of this project's tag."
  }
  assert {
    condition     = toset([for told in aws_budgets_budget.this.notification : told.notification_type]) == toset(["ACTUAL", "FORECASTED"])
    error_message = "People must hear of what was spent and of what will be."
  }
}

run "an_image_of_another_registry_needs_no_right" {
  command = apply

  assert {
    condition     = !strcontains(aws_iam_role_policy.execution.policy, "ecr:")
    error_message = "Only an image in ECR needs rights there."
  }
}

run "other_partitions_have_their_own_arns" {
  command = apply
  variables {
    region = "cn-north-1"
    image  = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/senso@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.execution.policy, "arn:aws-cn:ecr:cn-north-1:123456789012:repository/senso\"")
    error_message = "The repository must be named in its partition, without digest."
  }
}

run "the_largest_and_the_smallest_task_are_accepted" {
  command = plan
  variables {
    cpu           = 16384
    memory        = 122880
    worker_cpu    = 256
    worker_memory = 512
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

run "a_key_of_ones_own_is_used_for_all_that_is_stored" {
  command = apply
  variables {
    kms_key_arn     = "arn:aws:kms:us-east-1:123456789012:key/1"
    create_database = true
    subnet_ids      = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
  }
  override_resource {
    target = aws_db_instance.this
    values = { master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds-1" }] }
  }
  assert {
    condition = toset(concat(
      [for group in aws_cloudwatch_log_group.this : group.kms_key_id],
      [for group in aws_cloudwatch_log_group.database : group.kms_key_id],
      [
        aws_secretsmanager_secret.app.kms_key_id, aws_sns_topic.alerts.kms_master_key_id, aws_db_instance.this[0].kms_key_id,
        aws_sqs_queue.task_events.kms_master_key_id, aws_sqs_queue.task_events_dlq.kms_master_key_id,
        one(one(aws_s3_bucket_server_side_encryption_configuration.results.rule).apply_server_side_encryption_by_default).kms_master_key_id,
      ],
    )) == toset([var.kms_key_arn])
    error_message = "One key for everything."
  }
  assert {
    condition = alltrue([
      for policy in [aws_iam_role_policy.worker.policy, aws_iam_role_policy.flow.policy, aws_iam_role_policy.execution.policy] :
      [for statement in jsondecode(policy).Statement : statement.Resource if statement.Sid == "UseKey"] == [var.kms_key_arn]
    ])
    error_message = "Each role must be able to use the key, and no other."
  }
}

run "a_long_project_of_its_own_is_fine" {
  command = plan
  variables {
    project = "abcdefghijklmnopqrst"
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
    create_database             = true
    database_client_cidr_blocks = ["10.9.0.0/24"]
    subnet_ids                  = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
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
    error_message = "Tasks must reach the database."
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.database_clients) == ["10.9.0.0/24"]
    error_message = "Nobody else reaches the database but who is named."
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.database[0].referenced_security_group_id == aws_security_group.database[0].id
    error_message = "The way to the database must be open wherever the VPC's addresses are."
  }
  assert {
    condition     = aws_db_instance.this[0].username != "visibility"
    error_message = "RDS changes the administrator's password every seven days; flows must not use it."
  }
}
