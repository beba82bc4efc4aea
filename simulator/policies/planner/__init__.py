"""Planners that look at all jobs and sites together over the forecast horizon."""
