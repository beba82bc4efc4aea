"""Experiment files: the schema, reading, checking, and the way from there to a scenario."""
