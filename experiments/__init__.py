"""Experiment files in; runs, tables, figures and reports out."""
