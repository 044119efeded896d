"""Tasks: one module each, plus the items they are made of."""
