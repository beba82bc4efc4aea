"""Demand: generators and traces, turned into jobs."""
