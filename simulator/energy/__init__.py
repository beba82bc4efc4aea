"""The energy ledger of a site: battery, flows, and the balance that every run must keep."""
