"""Injected concepts: what a model says while a word's direction is added to its activations, against every control.

After Lindsey 2025 (transformer-circuits.pub/2025/introspection) and its critics. What is found is signal detection;
nothing here tests whether a model has a notion of its own states.
"""
