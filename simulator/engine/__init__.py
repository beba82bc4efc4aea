"""The discrete-event engine: jobs, nodes, faults, transfers and shortages as events in time."""
