"""Post-training organisms. The only room that imports trl."""
