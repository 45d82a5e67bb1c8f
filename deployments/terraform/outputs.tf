# What deployments.bootstrap needs, under the names of deployments/ecs/outputs.py.

output "region" { value = var.region }
output "project" { value = var.project }
output "environment" { value = var.environment }
output "cluster_arn" { value = aws_ecs_cluster.this.arn }
output "cluster_name" { value = aws_ecs_cluster.this.name }
output "vpc_id" { value = var.vpc_id }
output "subnet_ids" { value = var.subnet_ids }
output "security_group_id" { value = aws_security_group.tasks.id }
output "assign_public_ip" { value = var.assign_public_ip }
output "execution_role_arn" { value = aws_iam_role.execution.arn }
output "flow_role_arn" { value = aws_iam_role.flow.arn }
output "image" { value = var.image }
output "cpu" { value = var.cpu }
output "memory" { value = var.memory }
output "cpu_architecture" { value = var.cpu_architecture }
output "launch_type" { value = var.launch_type }
output "flow_log_group" { value = aws_cloudwatch_log_group.this["flows"].name }
output "flow_family" { value = "${local.name}-flow" }
output "secret_arn" { value = aws_secretsmanager_secret.app.arn }
output "secret_keys" { value = var.secret_keys }
output "flow_environment" { value = var.flow_environment }
output "prefect_auth_string_key" { value = var.prefect_auth_string_key }
output "prefect_api_url" { value = var.prefect_api_url }
output "results_bucket" { value = aws_s3_bucket.results.bucket }
output "events_queue_name" { value = aws_sqs_queue.task_events.name }
output "alerts_topic_arn" { value = aws_sns_topic.alerts.arn }
output "worker_service_name" { value = aws_ecs_service.worker.name }
output "work_pool" { value = var.work_pool }

# For people
output "repository_url" { value = var.create_repository ? aws_ecr_repository.this[0].repository_url : null }
output "database_address" { value = var.create_database ? aws_db_instance.this[0].address : null }
output "database_secret_arn" { value = var.create_database ? aws_db_instance.this[0].master_user_secret[0].secret_arn : null }
