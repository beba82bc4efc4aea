"""Sites, jobs, scenarios, experiments and records for the tests: look here before you write a builder."""
