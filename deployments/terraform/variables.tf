variable "region" {
  description = "AWS region of everything."
  type        = string
  default     = "us-east-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must look like us-east-1."
  }
}

variable "project" {
  description = "First part of every name; lower case."
  type        = string
  default     = "senso"
  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9])+$", var.project)) && length(var.project) <= 20
    error_message = "project must have 2 to 20 lower-case letters, digits or single hyphens between them, and begin with a letter."
  }
}

variable "environment" {
  description = "production, or another installation in the same account; becomes part of the names unless it is production."
  type        = string
  default     = "production"
  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9])+$", var.environment)) && length(var.environment) <= 16
    error_message = "environment must have 2 to 16 lower-case letters, digits or single hyphens between them, and begin with a letter."
  }
  validation {
    condition     = var.environment == "production" || length(var.project) + length(var.environment) <= 26
    error_message = "project and environment together may have 26 characters: account and region follow in the bucket's name, which may have 63."
  }
}

# Network

variable "vpc_id" {
  description = "VPC that the tasks run in."
  type        = string
  validation {
    condition     = can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "vpc_id must look like vpc-0123456789abcdef0."
  }
}

variable "subnet_ids" {
  description = "Subnets of the tasks: private ones behind a NAT gateway, or public ones with assign_public_ip."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) > 0 && alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))])
    error_message = "subnet_ids must name at least one subnet like subnet-0123456789abcdef0."
  }
}

variable "assign_public_ip" {
  description = "Whether tasks get a public address; needed in public subnets, where no NAT gateway leads out."
  type        = bool
  default     = false
}

variable "database_cidr_blocks" {
  description = "Where Postgres may be reached, as CIDR blocks."
  type        = list(string)
  default     = ["10.0.0.0/8"]
  validation {
    condition     = length(var.database_cidr_blocks) > 0 && alltrue([for block in var.database_cidr_blocks : can(cidrhost(block, 0))])
    error_message = "database_cidr_blocks must be CIDR blocks like 10.0.0.0/16."
  }
}

variable "database_port" {
  description = "Port of Postgres."
  type        = number
  default     = 5432
  validation {
    condition     = var.database_port >= 1 && var.database_port <= 65535 && floor(var.database_port) == var.database_port
    error_message = "database_port must be a whole number from 1 to 65535."
  }
}

# Prefect

variable "prefect_api_url" {
  description = "Address of the Prefect server's API as the tasks reach it."
  type        = string
  validation {
    condition     = can(regex("^https?://[^/@]+/(.+/)?api(/.*)?$", var.prefect_api_url))
    error_message = "prefect_api_url must look like https://prefect.example.com/api and hold no user or password."
  }
}

variable "prefect_api_cidr_blocks" {
  description = "Where the Prefect server may be reached when its port is not 443."
  type        = list(string)
  default     = ["10.0.0.0/8"]
  validation {
    condition     = alltrue([for block in var.prefect_api_cidr_blocks : can(cidrhost(block, 0))])
    error_message = "prefect_api_cidr_blocks must be CIDR blocks like 10.0.0.0/16."
  }
}

variable "prefect_auth_string_key" {
  description = "Key in the secret that holds the server's auth string (user:password); null for a server without."
  type        = string
  default     = "PREFECT_API_AUTH_STRING"
  validation {
    condition     = var.prefect_auth_string_key == null || can(regex("^[A-Za-z][A-Za-z0-9_]*$", var.prefect_auth_string_key))
    error_message = "prefect_auth_string_key must be a key of the secret: letters, digits and underscores."
  }
}

variable "work_pool" {
  description = "Name of the ECS work pool."
  type        = string
  default     = "ecs"
  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9_-]*$", var.work_pool))
    error_message = "work_pool may have letters, digits, hyphens and underscores."
  }
}

# Containers

variable "image" {
  description = "Image of flows and worker with a tag or digest that never moves."
  type        = string
  validation {
    condition     = can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]*)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image must end in a version's tag or a digest; :latest would change under running shards."
  }
}

variable "cpu" {
  description = "CPU units of a flow's task; 1024 are one vCPU."
  type        = number
  default     = 1024
  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "cpu must be 256, 512, 1024, 2048, 4096, 8192 or 16384: Fargate has no other sizes."
  }
}

variable "memory" {
  description = "Memory of a flow's task, MiB; a shard of 100 organisations takes about 450."
  type        = number
  default     = 2048
  validation {
    condition     = contains(lookup(local.fargate_memory, tostring(var.cpu), [var.memory]), var.memory)
    error_message = "Fargate has no task with this memory and cpu; 1024 cpu go with 2048 to 8192 MiB in steps of 1024."
  }
}

variable "cpu_architecture" {
  description = "ARM64 (cheaper) or X86_64; the image must be built for it."
  type        = string
  default     = "ARM64"
  validation {
    condition     = contains(["ARM64", "X86_64"], var.cpu_architecture)
    error_message = "cpu_architecture must be ARM64 or X86_64."
  }
}

variable "launch_type" {
  description = "FARGATE, or FARGATE_SPOT: cheaper, and a shard may be told to stop at any time (it goes on in a new task)."
  type        = string
  default     = "FARGATE"
  validation {
    condition     = contains(["FARGATE", "FARGATE_SPOT"], var.launch_type)
    error_message = "launch_type must be FARGATE or FARGATE_SPOT."
  }
}

variable "flow_environment" {
  description = "Settings of the flows in clear, such as SHARDS; secrets belong into the secret."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.flow_environment) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "flow_environment must have names of environment variables, such as SHARDS."
  }
  validation {
    condition = alltrue([
      for name in keys(var.flow_environment) :
      !contains(var.secret_keys, name) && !can(regex("_KEY$|SECRET$|PASSWORD|TOKEN$|AUTH_STRING|DATABASE_URL|WEBHOOK_URL", name))
    ])
    error_message = "flow_environment is readable by everybody who may look at a task; put this into the secret and name it in secret_keys."
  }
}

variable "worker_count" {
  description = "Workers; one is enough, two are one more than can fail. 0 until the image and the secret are there."
  type        = number
  default     = 1
  validation {
    condition     = contains([0, 1, 2, 3, 4], var.worker_count)
    error_message = "worker_count must be 0 to 4."
  }
}

variable "worker_cpu" {
  description = "CPU units of a worker."
  type        = number
  default     = 512
  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.worker_cpu)
    error_message = "worker_cpu must be 256, 512, 1024, 2048 or 4096."
  }
}

variable "worker_memory" {
  description = "Memory of a worker, MiB."
  type        = number
  default     = 1024
  validation {
    condition     = contains(lookup(local.fargate_memory, tostring(var.worker_cpu), [var.worker_memory]), var.worker_memory)
    error_message = "Fargate has no task with this worker_memory and worker_cpu; 512 cpu go with 1024 to 4096 MiB."
  }
}

# Secrets

variable "secret_keys" {
  description = "Keys of the secret that flows get as environment variables; each must be in the secret, or no task starts."
  type        = list(string)
  default     = ["DATABASE_URL", "BRIGHTDATA_API_KEY", "OPENAI_API_KEY"]
  validation {
    condition     = length(var.secret_keys) == length(distinct(var.secret_keys)) && alltrue([for key in var.secret_keys : can(regex("^[A-Z][A-Z0-9_]*$", key))])
    error_message = "secret_keys must be names of environment variables, each once."
  }
  validation {
    condition     = !contains(var.secret_keys, "PREFECT_API_AUTH_STRING")
    error_message = "The Prefect server's auth string is named by prefect_auth_string_key, not in secret_keys."
  }
}

variable "secret_recovery_days" {
  description = "Days in which a deleted secret can be had back."
  type        = number
  default     = 30
  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "secret_recovery_days must be 0 (at once) or 7 to 30."
  }
}

variable "kms_key_arn" {
  description = "Key of your own for secret, bucket, queue, logs, topic and database; null for the keys of AWS. Its policy must let CloudWatch, EventBridge, Budgets and Logs use it; the password that RDS makes stays under the key of AWS."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

# Storage, logs, registry

variable "results_expire_days" {
  description = "Days after which persisted task results are deleted; reports stay."
  type        = number
  default     = 30
  validation {
    condition     = var.results_expire_days >= 2
    error_message = "results_expire_days must be at least 2: name variations are cached for a day."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 90
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of the periods that CloudWatch Logs has: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "create_repository" {
  description = "Whether to create an ECR repository for the image."
  type        = bool
  default     = true
}

# Alerts and money

variable "alert_emails" {
  description = "Who gets alarms and budget warnings; each must confirm the subscription."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "alert_emails must be e-mail addresses."
  }
}

variable "monthly_budget_usd" {
  description = "What the tagged resources may cost a month before people are told, USD; without vendors and LLM, which AWS does not see."
  type        = number
  default     = 200
  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "monthly_budget_usd must be more than 0."
  }
}

# Optional database

variable "create_database" {
  description = "Whether to create an RDS Postgres for the results."
  type        = bool
  default     = false
  validation {
    condition     = !var.create_database || length(var.subnet_ids) >= 2
    error_message = "create_database needs subnet_ids in two zones: RDS takes no fewer."
  }
}

variable "database_instance_class" {
  description = "Instance class of the RDS Postgres."
  type        = string
  default     = "db.t4g.medium"
  validation {
    condition     = can(regex("^db\\.[a-z0-9]+\\.[a-z0-9]+$", var.database_instance_class))
    error_message = "database_instance_class must look like db.t4g.medium."
  }
}

variable "database_client_cidr_blocks" {
  description = "Who besides the tasks may reach the RDS Postgres, as CIDR blocks: the Prefect server, people who migrate and load."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for block in var.database_client_cidr_blocks : can(cidrhost(block, 0)) && !endswith(block, "/0")])
    error_message = "database_client_cidr_blocks must be CIDR blocks like 10.0.1.0/24, and not everybody."
  }
}

variable "database_storage_gb" {
  description = "Storage of the RDS Postgres, GB; it grows by itself up to ten times that."
  type        = number
  default     = 100
  validation {
    condition     = var.database_storage_gb >= 20 && var.database_storage_gb <= 6553
    error_message = "database_storage_gb must be 20 to 6553."
  }
}

variable "database_backup_days" {
  description = "Days of point-in-time recovery."
  type        = number
  default     = 14
  validation {
    condition     = var.database_backup_days >= 1 && var.database_backup_days <= 35
    error_message = "database_backup_days must be 1 to 35."
  }
}

variable "database_multi_az" {
  description = "Whether the RDS Postgres has a standby in another zone."
  type        = bool
  default     = true
}

locals {
  # MiB that Fargate offers for CPU units
  fargate_memory = {
    "256"   = [512, 1024, 2048]
    "512"   = range(1024, 4097, 1024)
    "1024"  = range(2048, 8193, 1024)
    "2048"  = range(4096, 16385, 1024)
    "4096"  = range(8192, 30721, 1024)
    "8192"  = range(16384, 61441, 4096)
    "16384" = range(32768, 122881, 8192)
  }
}
