"""Studies: sets of ordinary runs, and what is made of them together."""
