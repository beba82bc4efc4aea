"""Deferral: when a job that may wait should start, by sun, carbon intensity or price."""
