"""Rollouts: which version of a model answers, how a new one is tried, and the way back."""
