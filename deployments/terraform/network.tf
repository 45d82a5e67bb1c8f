# Nobody may reach a task; a task may reach vendors and AWS by HTTPS, Postgres, and the Prefect server.

locals {
  prefect_port = coalesce(
    try(tonumber(regex("^https?://[^/:]+:([0-9]+)/", var.prefect_api_url)[0]), null),
    startswith(var.prefect_api_url, "https") ? 443 : 80,
  )
  egress = merge(
    { https = { port = 443, cidr = "0.0.0.0/0" } },
    { for block in var.database_cidr_blocks : "postgres ${block}" => { port = var.database_port, cidr = block } },
    local.prefect_port == 443 ? {} : {
      for block in var.prefect_api_cidr_blocks : "prefect ${block}" => { port = local.prefect_port, cidr = block }
    },
  )
}

resource "aws_security_group" "tasks" {
  name        = "${local.name}-tasks"
  description = "Flow runs and worker: outgoing connections only"
  vpc_id      = var.vpc_id
}

# the RDS Postgres wherever the VPC's addresses are
resource "aws_vpc_security_group_egress_rule" "database" {
  count                        = var.create_database ? 1 : 0
  security_group_id            = aws_security_group.tasks.id
  referenced_security_group_id = aws_security_group.database[0].id
  description                  = "the Postgres of this module"
  ip_protocol                  = "tcp"
  from_port                    = var.database_port
  to_port                      = var.database_port
}

resource "aws_vpc_security_group_egress_rule" "tasks" {
  for_each          = local.egress
  security_group_id = aws_security_group.tasks.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
}
