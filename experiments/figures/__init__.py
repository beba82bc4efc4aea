"""Figures made from result folders; each is a function `(data, ax=None) -> Axes`."""
