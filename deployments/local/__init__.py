"""The processes of a local installation: Prefect server, sandbox, worker. Imports no Prefect: commands start fast."""

from deployments.local.environment import prefect_environment
from deployments.local.prefect_server import ensure_prefect_server
from deployments.local.sandbox_server import ensure_sandbox, sandbox_environment

__all__ = ["ensure_prefect_server", "ensure_sandbox", "prefect_environment", "sandbox_environment"]
