"""Natural states: studies of what a model reports of its own states where nothing is injected, beside text alone."""
