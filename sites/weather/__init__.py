"""Weather from clear sky, climatology or files, brought to one form: UTC, one step, values at mid-interval."""
