"""Instrument validation: the analysis of a run on data whose truth is planted, over and over.

What is planted is found or not by the very function that analyses a run; what its intervals and tests claim is held
against how often they are right.
"""
