"""Policies: who next, where, when, how large; and the list scheduler that combines them."""
