"""Lookahead: promised hours, what a run over them costs, and the battery's course; for deferral and planners alike."""
