"""Runs and probes in other tools' formats and places: Inspect logs, tables, arrays, caches, buckets and the hub.

Nothing is imported here: `transcripts` reads logs, and is below what writes runs.
"""
