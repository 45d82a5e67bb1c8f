# One secret, one JSON object. Its value is put by the operator and never passes through Terraform's state.
resource "aws_secretsmanager_secret" "app" {
  #checkov:skip=CKV2_AWS_57:vendors have no API to rotate these keys; docs/runbooks/secret-rotation.md
  name                    = "${local.name}/app"
  description             = "Keys of the flows as environment variables, and the Prefect server's auth string"
  recovery_window_in_days = var.secret_recovery_days
  kms_key_id              = var.kms_key_arn
}
