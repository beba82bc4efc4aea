"""The matrix of runs: what is missing is done, what is complete is kept."""
