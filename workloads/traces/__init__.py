"""Logs of real clusters: read by a column map, checked, and replayed on the sites of a scenario."""
