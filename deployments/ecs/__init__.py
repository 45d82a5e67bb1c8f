"""The ECS work pool: what Terraform says of AWS, and the base job template made from it."""
