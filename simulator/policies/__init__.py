"""Scheduling policies: the list scheduler, its backfilling, and the parts that it combines."""
