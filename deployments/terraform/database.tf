# Optional: the Postgres of the results. RDS makes the administrator's password and changes it every seven days, so flows
# have a role of their own: docs/production.md, step 2.

resource "aws_db_subnet_group" "this" {
  count      = var.create_database ? 1 : 0
  name       = local.name
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "database" {
  count       = var.create_database ? 1 : 0
  name        = "${local.name}-database"
  description = "Postgres, for the tasks and database_client_cidr_blocks"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  count                        = var.create_database ? 1 : 0
  security_group_id            = aws_security_group.database[0].id
  referenced_security_group_id = aws_security_group.tasks.id
  description                  = "Postgres from flow runs"
  ip_protocol                  = "tcp"
  from_port                    = var.database_port
  to_port                      = var.database_port
}

resource "aws_vpc_security_group_ingress_rule" "database_clients" {
  for_each          = toset(var.create_database ? var.database_client_cidr_blocks : [])
  security_group_id = aws_security_group.database[0].id
  cidr_ipv4         = each.value
  description       = "Postgres from ${each.value}"
  ip_protocol       = "tcp"
  from_port         = var.database_port
  to_port           = var.database_port
}

resource "aws_db_parameter_group" "this" {
  count  = var.create_database ? 1 : 0
  name   = "${local.name}-postgres17"
  family = "postgres17"
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  parameter {
    name  = "log_min_duration_statement"
    value = "1000" # ms
  }
}

# RDS would make them itself, and keep them for ever
resource "aws_cloudwatch_log_group" "database" {
  #checkov:skip=CKV_AWS_338:log_retention_days decides
  for_each          = toset(var.create_database ? ["postgresql", "upgrade"] : [])
  name              = "/aws/rds/instance/${local.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_118:enhanced monitoring needs a role and costs extra; Performance Insights is on
  #checkov:skip=CKV_AWS_157:database_multi_az decides, and is on by default
  count                               = var.create_database ? 1 : 0
  identifier                          = local.name
  engine                              = "postgres"
  engine_version                      = "17"
  instance_class                      = var.database_instance_class
  allocated_storage                   = var.database_storage_gb
  max_allocated_storage               = var.database_storage_gb * 10
  storage_type                        = "gp3"
  storage_encrypted                   = true
  kms_key_id                          = var.kms_key_arn
  username                            = "administrator"
  port                                = var.database_port
  manage_master_user_password         = true
  iam_database_authentication_enabled = true
  db_subnet_group_name                = aws_db_subnet_group.this[0].name
  vpc_security_group_ids              = [aws_security_group.database[0].id]
  parameter_group_name                = aws_db_parameter_group.this[0].name
  publicly_accessible                 = false
  multi_az                            = var.database_multi_az
  backup_retention_period             = var.database_backup_days
  copy_tags_to_snapshot               = true
  deletion_protection                 = true
  skip_final_snapshot                 = false
  final_snapshot_identifier           = "${local.name}-final"
  auto_minor_version_upgrade          = true
  performance_insights_enabled        = true
  performance_insights_kms_key_id     = var.kms_key_arn
  enabled_cloudwatch_logs_exports     = keys(aws_cloudwatch_log_group.database)
}
