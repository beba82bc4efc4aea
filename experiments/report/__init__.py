"""The one-page report, the sources behind it, and the story of a single job."""
