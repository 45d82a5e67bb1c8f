"""Leaving the old system (Inngest / Step Functions): its tables taken over, its results compared with ours.

`python -m visibility.legacy import`, `compare` and `give-back`; docs/migration.md says when.
"""
