"""The clairvoyant lower bound on grid draw: a linear programme with everything known."""
