"""Leaving the old system (Inngest / Step Functions): its tables taken over, its results compared with ours.

`python -m visibility.legacy import` and `python -m visibility.legacy compare`; docs/migration.md says when.
"""
