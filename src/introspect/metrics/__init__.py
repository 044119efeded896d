"""Behavioural metrics: text and answers in, estimates out."""
