"""The books of the sites, read one after another: what metrics take from them, and the table of their energy."""
