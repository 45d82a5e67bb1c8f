terraform {
  # 1.9: validations that compare variables
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25" # the schema that the tests know
    }
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = local.tags
  }
}

data "aws_caller_identity" "this" {}

locals {
  name       = var.environment == "production" ? var.project : "${var.project}-${var.environment}"
  account_id = data.aws_caller_identity.this.account_id
  tags = {
    Project     = local.name # two installations in an account have a budget each
    Environment = var.environment
    ManagedBy   = "terraform"
  }
}
