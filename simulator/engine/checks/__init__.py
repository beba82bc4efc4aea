"""Checks on every run: that nothing is lost or doubled, and that no policy writes into what it is handed."""
