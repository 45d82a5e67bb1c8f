"""Makes a Prefect server what the files say: pools, limits, blocks, automations. `python -m deployments.bootstrap`."""
