"""Places, weather and grid connections, turned into supply over time."""
