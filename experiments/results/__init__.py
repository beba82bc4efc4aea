"""Tables, metrics and their dictionary: what a run leaves behind, and how it is read again."""
