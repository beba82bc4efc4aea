"""Requests of the grid to draw less: how they come about, and what gives way."""
