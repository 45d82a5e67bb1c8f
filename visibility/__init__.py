"""Everything the product knows: questions, providers, extraction, billing, metrics, storage.

Imports no Prefect: call it from a flow, a notebook, a test or a script.
"""
