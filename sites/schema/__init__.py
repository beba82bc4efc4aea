"""The validated form of a site: fields, equipment, grid, weather; every key with its unit, range and default."""
