# Each wrong value is refused by its own validation, before anything is planned.

mock_provider "aws" {}

variables {
  vpc_id          = "vpc-0123456789abcdef0"
  subnet_ids      = ["subnet-0123456789abcdef0"]
  prefect_api_url = "https://prefect.example.com/api"
  image           = "example.com/senso:0.1.0"
}

run "region" {
  command = plan
  variables {
    region = "nowhere"
  }
  expect_failures = [var.region]
}

run "project" {
  command = plan
  variables {
    project = "Senso!"
  }
  expect_failures = [var.project]
}

run "environment" {
  command = plan
  variables {
    environment = "p"
  }
  expect_failures = [var.environment]
}

run "a_name_that_makes_the_buckets_too_long" {
  command = plan
  variables {
    project     = "abcdefghijklmnopqrst"
    environment = "staging"
  }
  expect_failures = [var.environment]
}

run "vpc_id" {
  command = plan
  variables {
    vpc_id = "net-1"
  }
  expect_failures = [var.vpc_id]
}

run "subnet_ids" {
  command = plan
  variables {
    subnet_ids = []
  }
  expect_failures = [var.subnet_ids]
}

run "database_cidr_blocks" {
  command = plan
  variables {
    database_cidr_blocks = ["10.0.0.0"]
  }
  expect_failures = [var.database_cidr_blocks]
}

run "database_port" {
  command = plan
  variables {
    database_port = 0
  }
  expect_failures = [var.database_port]
}

run "prefect_api_url" {
  command = plan
  variables {
    prefect_api_url = "https://user:word@prefect.example.com/api"
  }
  expect_failures = [var.prefect_api_url]
}

run "prefect_api_cidr_blocks" {
  command = plan
  variables {
    prefect_api_cidr_blocks = ["everywhere"]
  }
  expect_failures = [var.prefect_api_cidr_blocks]
}

run "prefect_auth_string_key" {
  command = plan
  variables {
    prefect_auth_string_key = "user:word"
  }
  expect_failures = [var.prefect_auth_string_key]
}

run "work_pool" {
  command = plan
  variables {
    work_pool = "a pool"
  }
  expect_failures = [var.work_pool]
}

run "image" {
  command = plan
  variables {
    image = "example.com/senso:latest"
  }
  expect_failures = [var.image]
}

run "cpu" {
  command = plan
  variables {
    cpu = 513
  }
  expect_failures = [var.cpu]
}

run "memory" {
  command = plan
  variables {
    memory = 1024
  }
  expect_failures = [var.memory]
}

run "cpu_architecture" {
  command = plan
  variables {
    cpu_architecture = "arm"
  }
  expect_failures = [var.cpu_architecture]
}

run "launch_type" {
  command = plan
  variables {
    launch_type = "SPOT"
  }
  expect_failures = [var.launch_type]
}

run "flow_environment" {
  command = plan
  variables {
    flow_environment = { shards = "15" }
  }
  expect_failures = [var.flow_environment]
}

run "a_secret_in_clear" {
  command = plan
  variables {
    flow_environment = { SERPAPI_API_KEY = "1234" }
  }
  expect_failures = [var.flow_environment]
}

run "worker_count" {
  command = plan
  variables {
    worker_count = 9
  }
  expect_failures = [var.worker_count]
}

run "worker_cpu" {
  command = plan
  variables {
    worker_cpu = 300
  }
  expect_failures = [var.worker_cpu]
}

run "worker_memory" {
  command = plan
  variables {
    worker_memory = 512
  }
  expect_failures = [var.worker_memory]
}

run "secret_keys" {
  command = plan
  variables {
    secret_keys = ["PREFECT_API_AUTH_STRING"]
  }
  expect_failures = [var.secret_keys]
}

run "secret_recovery_days" {
  command = plan
  variables {
    secret_recovery_days = 3
  }
  expect_failures = [var.secret_recovery_days]
}

run "kms_key_arn" {
  command = plan
  variables {
    kms_key_arn = "alias/aws/sns"
  }
  expect_failures = [var.kms_key_arn]
}

run "results_expire_days" {
  command = plan
  variables {
    results_expire_days = 1
  }
  expect_failures = [var.results_expire_days]
}

run "log_retention_days" {
  command = plan
  variables {
    log_retention_days = 31
  }
  expect_failures = [var.log_retention_days]
}

run "alert_emails" {
  command = plan
  variables {
    alert_emails = ["nobody"]
  }
  expect_failures = [var.alert_emails]
}

run "monthly_budget_usd" {
  command = plan
  variables {
    monthly_budget_usd = 0
  }
  expect_failures = [var.monthly_budget_usd]
}

run "create_database" {
  command = plan
  variables {
    create_database = true # with one subnet
  }
  expect_failures = [var.create_database]
}

run "database_instance_class" {
  command = plan
  variables {
    database_instance_class = "large"
  }
  expect_failures = [var.database_instance_class]
}

run "database_client_cidr_blocks" {
  command = plan
  variables {
    database_client_cidr_blocks = ["0.0.0.0/0"]
  }
  expect_failures = [var.database_client_cidr_blocks]
}

run "a_name_that_registries_refuse" {
  command = plan
  variables {
    project = "senso-"
  }
  expect_failures = [var.project]
}

run "database_storage_gb" {
  command = plan
  variables {
    database_storage_gb = 5
  }
  expect_failures = [var.database_storage_gb]
}

run "database_backup_days" {
  command = plan
  variables {
    database_backup_days = 0
  }
  expect_failures = [var.database_backup_days]
}
