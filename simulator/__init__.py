"""Jobs, supply and a policy, turned into a record of who ran where on whose energy."""
